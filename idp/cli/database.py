"""`idp init` and `idp db`: the schema."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import typer

from idp.cli.run import FAILED, Json, echo_json, group, over_store, refusing

if TYPE_CHECKING:
    from idp.opening import Opened
    from idp.store.database import Database

app = group("The database's schema.")


def init() -> None:
    """Create the key-encryption key and the database, or bring the database up to date; safe to repeat."""

    async def done(opened: "Opened") -> str:
        settings = opened.settings
        source = "IDP_KEY_ENCRYPTION_KEY" if settings.key_encryption_key is not None else settings.keys_dir
        return f"ready: {settings.describe()['IDP_DATABASE_URL']}, key-encryption key in {source}"

    typer.echo(over_store(done, create=True))


@app.command()
def upgrade() -> None:
    """Bring the schema up to date; SQLite is copied first."""
    from idp.domain.clock import system_clock
    from idp.resources import migrations_dir
    from idp.store import migrate

    async def run() -> list[str]:
        async with _database() as database:
            return await migrate.upgrade(database, migrations_dir(), now=system_clock())

    for line in refusing(run()) or ["the schema is up to date"]:
        typer.echo(line)


@app.command()
def status(as_json: Json = False) -> None:
    """Show which schema the database has and which this version needs; exit code 1 when they differ."""
    from idp.resources import migrations_dir
    from idp.store import migrate

    async def run() -> tuple[str | None, str]:
        async with _database() as database:
            return await migrate.current(database), migrate.head(migrations_dir())

    have, want = refusing(run())
    if as_json:
        echo_json({"schema": have, "needed": want, "current": have == want})
    else:
        typer.echo(f"the database has schema {have or 'none'}, this version needs {want}")
    raise typer.Exit(0 if have == want else FAILED)


@asynccontextmanager
async def _database() -> "AsyncIterator[Database]":
    from idp.observe.logs import configure_logs
    from idp.setting_sources import load_settings
    from idp.store.database import Database

    settings = load_settings()
    configure_logs(settings.log_format, "warning")
    database = Database(settings.database_driver_url)
    try:
        yield database
    finally:
        await database.close()
