"""The schema: one linear history of migrations for SQLite and PostgreSQL, run by Alembic.

Alembic is imported only when something must be migrated: a start with a current schema stays quick.
"""

import asyncio
import re
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.store.columns import metadata
from idp.store.database import Database
from idp.store.errors import SchemaError

# Any number, as long as every node uses the same one.
_ADVISORY_LOCK = 7_305_206_917


def head(migrations: Path) -> str:
    """Return the newest revision among the files, without loading Alembic."""
    revisions: dict[str, str | None] = {}
    for path in sorted((migrations / "versions").glob("*.py")):
        source = path.read_text(encoding="utf-8")
        revision = re.search(r'^revision = "(\w+)"', source, re.MULTILINE)
        down = re.search(r'^down_revision = (?:"(\w+)"|None)', source, re.MULTILINE)
        if revision is None or down is None:
            raise SchemaError(f"{path.name} is no migration: it lacks revision or down_revision")
        revisions[revision[1]] = down[1]
    heads = set(revisions) - set(revisions.values())
    if len(heads) != 1:
        raise SchemaError(f"the migrations have {len(heads)} heads, not one: {sorted(heads)}")
    return heads.pop()


async def current(database: Database) -> str | None:
    """Return the database's revision; None when it is empty.

    Raises:
        SchemaError: the database holds tables, but none of ours.
    """
    async with database.read() as connection:
        return await connection.run_sync(_current)


def _current(connection: Connection) -> str | None:
    names = set(inspect(connection).get_table_names())
    revision: str | None = None
    if "alembic_version" in names:
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        names.remove("alembic_version")
    if names and revision is None:
        raise SchemaError(
            f"the database holds other tables ({', '.join(sorted(names)[:3])} …) and no Lab ID schema: "
            "name an empty database in IDP_DATABASE_URL"
        )
    return revision


async def require_current(database: Database, migrations: Path) -> None:
    """Check that the schema fits this code.

    Raises:
        SchemaError: it is missing, older or newer; the text names the command that mends it.
    """
    have, want = await current(database), head(migrations)
    if have == want:
        return
    if have is None:
        raise SchemaError("the database is empty: run `idp init`")
    if have not in _known(migrations):
        raise SchemaError(
            f"the database has schema {have}, which this version of Lab ID does not know (it is newer, or another "
            "product's): run the newer version, or restore a backup; nothing was changed"
        )
    raise SchemaError(f"the database has schema {have}, this version needs {want}: run `idp db upgrade`")


def _known(migrations: Path) -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (migrations / "versions").glob("*.py"))
    return {match[1] for source in sources if (match := re.search(r'^revision = "(\w+)"', source, re.MULTILINE))}


async def upgrade(database: Database, migrations: Path, *, now: datetime, target: str = "head") -> list[str]:
    """Bring the schema to `target` and return a line for each thing done; SQLite is copied first.

    Raises:
        SchemaError: the database is newer than this code, or a migration left rows that refer to nothing.
    """
    have = await current(database)
    if have is not None and have not in _known(migrations):
        await require_current(database, migrations)
    if have == head(migrations) and target == "head":
        return []
    lines = []
    if database.dialect == "sqlite" and have is not None:
        lines.append(f"copied the database to {await asyncio.to_thread(_snapshot, database, have, now)}")
    await _run(database, migrations, "upgrade", target)
    lines.append(f"schema {have or 'empty'} → {await current(database) or 'empty'}")
    return lines


async def downgrade(database: Database, migrations: Path, *, target: str) -> None:
    """Take migrations back, for tests and emergencies."""
    await _run(database, migrations, "downgrade", target)


async def _run(database: Database, migrations: Path, verb: str, target: str) -> None:
    async with database.migrating() as connection:
        await connection.run_sync(_alembic, migrations, verb, target)
        await _check_foreign_keys(connection, database.dialect)


def _alembic(connection: Connection, migrations: Path, verb: str, target: str) -> None:
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["target_metadata"] = metadata
    getattr(command, verb)(config, target)


async def _check_foreign_keys(connection: AsyncConnection, dialect: str) -> None:
    if dialect == "sqlite":
        broken: Any = (await connection.exec_driver_sql("PRAGMA foreign_key_check")).fetchall()
        if broken:
            raise SchemaError(f"the migration left {len(broken)} rows that refer to nothing; it was rolled back")


def _snapshot(database: Database, revision: str, now: datetime) -> Path:
    source = Path(database.url.database or "")
    target = source.with_name(f"{source.name}.{revision}-{now:%Y%m%dT%H%M%SZ}.bak")
    # Closed to others before anything is in it.
    target.touch(mode=0o600)
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as copy:
        original.backup(copy)
    return target
