"""What every test may ask for: a clock that is moved by hand, and both databases.

A test that takes `database_url`, `database` or `store` runs twice, on SQLite and on PostgreSQL. Each test finds the
schema in place and no rows.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from idp.store import migrate
from idp.store.database import Database
from idp.store.store import Store
from tests.support import postgresql
from tests.support.clock import START, FakeClock
from tests.support.paths import MIGRATIONS
from tests.support.postgresql import PostgreSQL, WorkerDatabase
from tests.support.reuse import reusing

# A busy machine is no defect of a test.
settings.register_profile("default", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

RUN_FOLDER = pytest.StashKey[Path]()
CLEANER = pytest.StashKey["subprocess.Popen[bytes]"]()


def pytest_configure(config: pytest.Config) -> None:
    """One folder for the run: the controller makes it, the workers are told."""
    worker = getattr(config, "workerinput", None)
    # Not below pytest's own temporary folder: the path of a Unix socket has to be short.
    config.stash[RUN_FOLDER] = Path(worker["run_folder"] if worker else tempfile.mkdtemp(prefix="lab-id-tests-"))
    if not worker:
        config.stash[CLEANER] = postgresql.cleaner(config.stash[RUN_FOLDER])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    node.workerinput["run_folder"] = str(node.config.stash[RUN_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    if CLEANER in config.stash:
        config.stash[CLEANER].communicate()


@pytest.fixture(scope="session", autouse=True)
def _reusing() -> Iterator[None]:
    with reusing():
        yield


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(_migrate(f"sqlite+aiosqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgresql_server(request: pytest.FixtureRequest) -> PostgreSQL:
    return postgresql.shared(request.config.stash[RUN_FOLDER])


@pytest.fixture(scope="session")
def worker_database(postgresql_server: PostgreSQL, worker_id: str) -> Iterator[WorkerDatabase]:
    name = f"lab_id_{worker_id}"
    asyncio.run(postgresql_server.execute(f"CREATE DATABASE {name} TEMPLATE {postgresql.TEMPLATE}"))
    with closing(WorkerDatabase(postgresql_server, name)) as database:
        yield database


@pytest.fixture(scope="session")
def _worker_scratch_database(postgresql_server: PostgreSQL, worker_id: str) -> str:
    name = f"scratch_{worker_id}"
    asyncio.run(postgresql_server.execute(f"CREATE DATABASE {name}"))
    return name


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{shutil.copyfile(_sqlite_template, tmp_path / 'idp.db')}"


@pytest.fixture
def postgresql_url(worker_database: WorkerDatabase) -> str:
    worker_database.clear()
    return worker_database.url


@pytest.fixture
async def empty_postgresql_url(postgresql_server: PostgreSQL, _worker_scratch_database: str) -> str:
    """A database without a schema."""
    anew = "SET lock_timeout = '10s'; DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    await postgresql_server.execute(anew, database=_worker_scratch_database)
    return postgresql_server.url(_worker_scratch_database)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> AsyncIterator[Store]:
    store = Store(database)
    yield store
    await store.close()


async def _migrate(url: str) -> None:
    database = Database(url)
    try:
        await migrate.upgrade(database, MIGRATIONS, now=START)
    finally:
        await database.close()
