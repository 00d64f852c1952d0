"""Migrations: every way from one schema to another, and what refuses to go it."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from idp.store import migrate
from idp.store.columns import metadata
from idp.store.database import Database
from idp.store.errors import SchemaError
from idp.store.store import Store
from tests.support.clock import START
from tests.support.factories import (
    make_access_token,
    make_client,
    make_code,
    make_consent,
    make_credential,
    make_grant,
    make_lab,
    make_membership,
    make_session,
    make_user,
)
from tests.support.paths import MIGRATIONS

HEAD = migrate.head(MIGRATIONS)
ALICE = make_user(profile={"given_name": "Alice"})
POPULATION = (
    *(ALICE, make_credential(), make_lab(), make_membership(), make_client(), make_consent()),
    *(make_session(), make_grant(), make_code(), make_access_token()),
)
NEXT = '''"""{name}."""

import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    {upgrade}


def downgrade() -> None:
    {downgrade}
'''


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"
    return request.getfixturevalue("empty_postgresql_url")


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Database]:
    """A database without a schema."""
    database = Database(empty_url)
    yield database
    await database.close()


@pytest.fixture
async def populated(empty: Database) -> Database:
    """A database with the current schema and rows that refer to one another."""
    await migrate.upgrade(empty, MIGRATIONS, now=START)
    await Store(empty).commit.append(*POPULATION)
    return empty


def with_next(tmp_path: Path, *, upgrade: str, downgrade: str = "pass", name: str = "Another") -> Path:
    """Return a copy of the migrations with one more, so that a change of a populated table can be tried."""
    migrations = tmp_path / name / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    source = NEXT.format(name=name, head=HEAD, upgrade=upgrade, downgrade=downgrade)
    (migrations / "versions" / "next.py").write_text(source)
    return migrations


async def everything_in(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables but Alembic's own."""
    async with database.read() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        return {
            name: sorted(tuple(map(repr, row)) for row in await connection.execute(text(f'SELECT * FROM "{name}"')))
            for name in names
            if name != "alembic_version"
        }


async def execute(database: Database, *statements: str) -> None:
    async with database.write() as connection:
        for statement in statements:
            await connection.execute(text(statement))


# ── Up and down ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_empty_database_is_brought_to_the_newest_schema(empty: Database):
    assert await migrate.current(empty) is None

    lines = await migrate.upgrade(empty, MIGRATIONS, now=START)

    assert lines == [f"schema empty → {HEAD}"]
    assert await migrate.current(empty) == HEAD
    await migrate.require_current(empty, MIGRATIONS)


async def test_a_current_database_is_left_alone(populated: Database, tmp_path: Path):
    before = await everything_in(populated)

    assert await migrate.upgrade(populated, MIGRATIONS, now=START) == []

    assert await everything_in(populated) == before
    assert list(tmp_path.glob("*.bak")) == []


async def test_all_migrations_can_be_taken_back_and_made_again(populated: Database):
    await migrate.downgrade(populated, MIGRATIONS, target="base")
    assert await everything_in(populated) == {}
    assert await migrate.current(populated) is None

    await migrate.upgrade(populated, MIGRATIONS, now=START)

    assert await migrate.current(populated) == HEAD
    await Store(populated).commit.append(*POPULATION)


async def test_the_migrated_schema_is_the_one_that_the_code_describes(empty: Database):
    await migrate.upgrade(empty, MIGRATIONS, now=START)

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, metadata)

    async with empty.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_the_migrated_foreign_keys_cascade_as_the_code_describes(empty: Database):
    # Alembic's comparison does not look at ON DELETE on SQLite.
    await migrate.upgrade(empty, MIGRATIONS, now=START)

    def cascades(connection: Connection) -> set[tuple[str, str, str, str | None]]:
        inspector = inspect(connection)
        return {
            (table, *key["constrained_columns"], key["referred_table"], key["options"].get("ondelete"))
            for table in metadata.tables
            for key in inspector.get_foreign_keys(table)
        }

    async with empty.read() as connection:
        assert await connection.run_sync(cascades) == {
            (table.name, key.parent.name, key.column.table.name, key.ondelete)
            for table in metadata.sorted_tables
            for key in table.foreign_keys
        }


async def test_a_change_of_a_populated_parent_keeps_its_rows_and_their_children(populated: Database, tmp_path: Path):
    before = await everything_in(populated)
    migrations = with_next(
        tmp_path,
        upgrade="""with op.batch_alter_table("users", recreate="auto") as users:
        users.add_column(sa.Column("note", sa.Text(), nullable=False, server_default="none"))
        users.alter_column("name", type_=sa.String(400))""",
        downgrade="""with op.batch_alter_table("users") as users:
        users.drop_column("note")
        users.alter_column("name", type_=sa.String(300))""",
    )
    with pytest.raises(SchemaError, match="idp db upgrade"):
        await migrate.require_current(populated, migrations)

    lines = await migrate.upgrade(populated, migrations, now=START)

    assert lines[-1] == f"schema {HEAD} → next"
    changed = await everything_in(populated)
    assert [row[-1] for row in changed["users"]] == ["'none'"]
    assert {name: rows for name, rows in changed.items() if name != "users"} == {
        name: rows for name, rows in before.items() if name != "users"
    }

    await migrate.downgrade(populated, migrations, target=HEAD)
    assert await everything_in(populated) == before
    async with Store(populated).read() as tx:
        assert await tx.users.all() == [ALICE]


async def test_foreign_keys_are_kept_again_after_a_migration(populated: Database, tmp_path: Path):
    await migrate.upgrade(populated, with_next(tmp_path, upgrade="pass"), now=START)

    async with Store(populated).write() as tx:
        await tx.users.delete(ALICE.id)

    async with Store(populated).read() as tx:
        assert await tx.credentials.all() == []


async def test_whoever_was_there_before_people_could_be_searched_for_is_found(empty: Database):
    await migrate.upgrade(empty, MIGRATIONS, now=START, target="0002")
    added = "INSERT INTO users (id, email, email_verified, name, profile, roles, status, created_at, updated_at) VALUES"
    rows = [
        f"('u_{n}', '{n}@example.org', true, 'Zoë {n}', '{{}}', '[]', 'active', '{START}', '{START}')" for n in (1, 2)
    ]
    nobody = f"('u_3', NULL, true, NULL, '{{}}', '[]', 'active', '{START}', '{START}')"
    await execute(empty, f"{added} {', '.join([*rows, nobody])}")

    await migrate.upgrade(empty, MIGRATIONS, now=START)

    words = (await everything_in(empty))["user_words"]
    assert words == [(f"'u_{n}'", repr(word)) for n in (1, 2) for word in sorted((str(n), "example", "org", "zoe"))]


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_empty_database_is_refused_with_the_command_that_fills_it(empty: Database):
    with pytest.raises(SchemaError, match="`idp init`"):
        await migrate.require_current(empty, MIGRATIONS)

    assert await everything_in(empty) == {}


async def test_a_newer_database_is_refused_and_left_alone(populated: Database, tmp_path: Path):
    await migrate.upgrade(populated, with_next(tmp_path, upgrade="pass"), now=START)
    before = await everything_in(populated)

    for attempt in (
        migrate.require_current(populated, MIGRATIONS),
        migrate.upgrade(populated, MIGRATIONS, now=START),
    ):
        with pytest.raises(SchemaError, match=r"schema next.*run the newer version, or restore a backup"):
            await attempt

    assert await everything_in(populated) == before
    assert await migrate.current(populated) == "next"


FOREIGN = {
    "another product's tables": ["CREATE TABLE invoices (id TEXT)", "INSERT INTO invoices VALUES ('i')"],
    "another product's tables, migrated by Alembic": [
        "CREATE TABLE invoices (id TEXT)",
        "INSERT INTO invoices VALUES ('i')",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('abcdef')",
    ],
    "another product's tables, once migrated by Alembic": [
        "CREATE TABLE invoices (id TEXT)",
        "INSERT INTO invoices VALUES ('i')",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
    ],
}


@pytest.mark.parametrize("content", FOREIGN)
async def test_a_foreign_database_is_refused_and_left_alone(empty: Database, content: str):
    await execute(empty, *FOREIGN[content])

    for attempt in (migrate.require_current(empty, MIGRATIONS), migrate.upgrade(empty, MIGRATIONS, now=START)):
        with pytest.raises(SchemaError, match=r"IDP_DATABASE_URL|another product's"):
            await attempt

    assert await everything_in(empty) == {"invoices": [("'i'",)]}


async def test_a_migration_that_fails_leaves_everything_as_it_was(populated: Database, tmp_path: Path):
    before = await everything_in(populated)
    migrations = with_next(
        tmp_path,
        upgrade='op.drop_table("credentials")\n    op.execute("DELETE FROM users")\n    raise RuntimeError("no")',
    )

    with pytest.raises(RuntimeError, match="no"):
        await migrate.upgrade(populated, migrations, now=START)

    assert await everything_in(populated) == before
    assert await migrate.current(populated) == HEAD
    await migrate.require_current(populated, MIGRATIONS)


async def test_on_sqlite_a_migration_that_leaves_rows_referring_to_nothing_is_rolled_back(
    sqlite_url: str, tmp_path: Path
):
    migrations = with_next(tmp_path, upgrade='op.execute("DELETE FROM users")')
    database = Database(sqlite_url)
    try:
        await Store(database).commit.append(*POPULATION)
        before = await everything_in(database)

        with pytest.raises(SchemaError, match="rows that refer to nothing; it was rolled back"):
            await migrate.upgrade(database, migrations, now=START)

        assert await everything_in(database) == before
        assert await migrate.current(database) == HEAD
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "0 heads"),
        ({f"{name}.py": f'revision = "{name}"\ndown_revision = None\n' for name in "ab"}, "2 heads"),
        ({"a.py": 'revision = "a"\n'}, "a.py is no migration"),
    ],
    ids=["none", "branches", "no migration"],
)
def test_a_history_that_is_not_one_line_is_refused(tmp_path: Path, files: dict[str, str], message: str):
    (tmp_path / "versions").mkdir()
    for name, source in files.items():
        (tmp_path / "versions" / name).write_text(source)

    with pytest.raises(SchemaError, match=message):
        migrate.head(tmp_path)


# ── Snapshots ───────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_sqlite_is_copied_for_its_owner_alone_before_it_is_changed(sqlite_url: str, tmp_path: Path):
    migrations = with_next(tmp_path, upgrade='op.drop_table("audit_events")')
    database = Database(sqlite_url)
    try:
        await Store(database).commit.append(*POPULATION)
        before = await everything_in(database)

        lines = await migrate.upgrade(database, migrations, now=START)
    finally:
        await database.close()

    snapshot = tmp_path / f"idp.db.{HEAD}-20260105T120000Z.bak"
    assert lines == [f"copied the database to {snapshot}", f"schema {HEAD} → next"]
    assert snapshot.stat().st_mode & 0o777 == 0o600
    shutil.copyfile(snapshot, tmp_path / "restored.db")
    restored = Database(f"sqlite+aiosqlite:///{tmp_path / 'restored.db'}")
    try:
        await migrate.require_current(restored, MIGRATIONS)
        assert await everything_in(restored) == before
    finally:
        await restored.close()


async def test_a_snapshot_is_never_open_to_others(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    modes = []
    connect = sqlite3.connect

    def noting_connect(path: Path | str, **options: Any) -> sqlite3.Connection:
        connection = connect(path, **options)
        if Path(path).suffix == ".bak":
            connection.execute("PRAGMA user_version")  # now the file is there
            modes.append(Path(path).stat().st_mode & 0o777)
        return connection

    monkeypatch.setattr(migrate.sqlite3, "connect", noting_connect)
    database = Database(sqlite_url)
    try:
        await migrate.upgrade(database, with_next(tmp_path, upgrade="pass"), now=START)
    finally:
        await database.close()

    assert modes == [0o600]


# ── Several nodes ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_of_several_nodes_that_upgrade_postgresql_at_once_one_does_it_and_all_succeed(
    empty_postgresql_url: str, tmp_path: Path
):
    # The rows count how often the migration ran.
    migrations = with_next(
        tmp_path,
        upgrade="""op.create_table("runs", sa.Column("at", sa.DateTime()))
    op.execute("INSERT INTO runs VALUES (now())")
    op.execute("SELECT pg_sleep(0.1)")""",
    )
    nodes = [Database(empty_postgresql_url) for _ in range(3)]
    try:
        await asyncio.gather(*(migrate.upgrade(node, migrations, now=START) for node in nodes))

        for node in nodes:
            await migrate.require_current(node, migrations)
        assert len((await everything_in(nodes[0]))["runs"]) == 1
    finally:
        for node in nodes:
            await node.close()


async def test_a_slow_migration_is_not_cut_short_by_the_statement_timeout(empty_postgresql_url: str, tmp_path: Path):
    migrations = with_next(tmp_path, upgrade='op.execute("SELECT pg_sleep(0.5)")')
    database = Database(empty_postgresql_url, statement_timeout_seconds=0.2)
    try:
        await migrate.upgrade(database, migrations, now=START)
        assert await migrate.current(database) == "next"
    finally:
        await database.close()
