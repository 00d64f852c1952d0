"""The command `idp`."""

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from idp import __version__
from idp.cli import apply, client, database, explain, keys, lab, logout, provider, registration, serve, user


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            # Typer hands on pydantic's text for a word that is no choice.
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    cls=_Commands,
    name="idp",
    help="Lab ID, an OAuth 2.0 / OpenID Connect provider for research labs.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 settings, keys, database or port cannot be used.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"Lab ID {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command()(serve.serve)
app.command()(database.init)
app.command()(apply.apply)
app.command()(apply.export)
app.command()(explain.explain)
app.add_typer(database.app, name="db")
app.add_typer(keys.app, name="keys")
app.add_typer(user.app, name="user")
app.add_typer(client.app, name="client")
app.add_typer(registration.app, name="registration-token")
app.add_typer(lab.app, name="lab")
app.add_typer(provider.app, name="provider")
app.add_typer(logout.app, name="logout-deliveries")


def main() -> None:
    """Run the command line; the files that it makes are nobody else's to read."""
    os.umask(0o077)
    app()
