"""What every command shares: running over an opened store, refusing in one line, and reading and writing."""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from idp.opening import Opened
    from idp.services.paging import Page

T = TypeVar("T")

FAILED = 1
CANNOT_START = 3
ACTOR = "cli"

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LabSlug = Annotated[str, typer.Argument(metavar="LAB", help="Slug of the lab.")]
Person = Annotated[str, typer.Argument(metavar="USER", help="E-mail address, user name or id.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


class CannotStart(Exception):
    """The server cannot be started like this; the text says why and what to do."""


def group(help: str) -> typer.Typer:
    """Return a group of commands."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)


def over_store(work: "Callable[[Opened], Awaitable[T]]", *, create: bool = False) -> T:
    """Open the store that the settings name, run `work` over it, and return what that returns."""
    from idp.observe.logs import configure_logs
    from idp.opening import open_store
    from idp.setting_sources import load_settings

    async def opened() -> T:
        settings = load_settings()
        configure_logs(settings.log_format, "warning")
        async with open_store(settings, create=create) as store:
            return await work(store)

    return refusing(opened())


def refusing(work: Coroutine[Any, Any, T]) -> T:
    """Run `work`; an expected error ends the command with one line for each thing that is wrong."""
    try:
        return asyncio.run(work)
    except Exception as error:
        known = describe(error)
        if known is None:
            raise
        code, text = known
    refuse(text, code=code)


def refuse(text: str, *, code: int = FAILED) -> NoReturn:
    """End the command."""
    for line in text.splitlines():
        typer.echo(f"error: {line}", err=True)
    raise typer.Exit(code)


def describe(error: Exception) -> tuple[int, str] | None:
    """Return the exit code and text of an expected error; None for a defect of ours."""
    # Loaded by whoever raised the error, but too slow to load for `idp --help`.
    from idp.crypto.key_file import KeyFileError
    from idp.crypto.password import HashingBusy
    from idp.services.apply_file import ApplyRefused
    from idp.services.input import InputRefused
    from idp.services.installation import WrongKey
    from idp.services.lab_permissions import Forbidden
    from idp.services.signing_keys import KeyNotReady
    from idp.setting_sources import SettingsError
    from idp.store.errors import SchemaError, StoreError, Unavailable

    if isinstance(error, Unavailable):
        return CANNOT_START, f"the database cannot be used: {error}"
    if isinstance(error, SettingsError | SchemaError | WrongKey | KeyFileError | CannotStart):
        return CANNOT_START, str(error)
    if isinstance(error, OSError):
        return CANNOT_START, f"{error.filename or 'the system'}: {error.strerror or error}"
    if isinstance(error, StoreError | InputRefused | ApplyRefused | KeyNotReady | Forbidden):
        return FAILED, str(error)
    if isinstance(error, HashingBusy):
        return FAILED, "too many passwords wait to be hashed: try again"
    return None


def echo_json(value: Any) -> None:
    """Print a value as JSON; times in it are as in RFC 3339."""
    typer.echo(json.dumps(value, indent=2, default=_as_text, ensure_ascii=False))


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


async def every(page: "Callable[[str | None], Awaitable[Page[T]]]") -> list[T]:
    """Return the items of all pages of a list; `page` fetches the one behind a cursor."""
    fetched = await page(None)
    found = [*fetched.items]
    while fetched.next is not None:
        fetched = await page(fetched.next)
        found += fetched.items
    return found


def until(moment: datetime | None) -> str:
    """Return how an end is told: nothing where there is none."""
    return "" if moment is None else f" until {moment:%Y-%m-%d %H:%M:%S} UTC"


def choose_password(*, from_stdin: bool) -> tuple[str, bool]:
    """Return a password and whether it was made up here: read, asked for on a terminal, else generated."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n"), False
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password, False
    return secrets.token_urlsafe(15), True
