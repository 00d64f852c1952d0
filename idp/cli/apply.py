"""`idp apply` and `idp export`: the store as a file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from idp.cli.run import Json, echo_json, over_store

if TYPE_CHECKING:
    from idp.opening import Opened
    from idp.services.apply import Applied, Apply

_Files = Annotated[
    list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False, readable=True, help="Files in YAML.")
]


def apply(
    files: _Files,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove what an apply made and the files omit, but never users."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make what the files say true, all of it or nothing; a second run changes nothing."""

    async def run(opened: "Opened") -> "Applied":
        from idp.services.apply_file import read_apply_files

        read = read_apply_files([(str(path), path.read_bytes()) for path in files], os.environ)
        return await apply_over(opened).run(read, dry_run=dry_run, prune=prune)

    applied = over_store(run)
    for warning in applied.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        changes = [change.describe() for change in applied.changes]
        echo_json({"dry_run": dry_run, "changes": changes, "unchanged": applied.unchanged})
        return
    for change in applied.changes:
        typer.echo(str(change))
    typer.echo(f"= {applied.unchanged} unchanged{'; nothing was written (--dry-run)' if dry_run else ''}")


def export(
    with_password_hashes: Annotated[
        bool, typer.Option("--with-password-hashes", help="Include the hashes; keep the file as you would a password.")
    ] = False,
) -> None:
    """Print the store as a file for `idp apply`; secrets of clients and providers are not exported."""

    async def run(opened: "Opened") -> str:
        from idp.services.export import export as export_store

        return await export_store(opened.store, with_password_hashes=with_password_hashes)

    typer.echo(over_store(run), nl=False)


def apply_over(opened: "Opened") -> "Apply":
    """Return what applies files to an opened store."""
    from idp.services.apply import Apply

    settings = opened.settings
    return Apply(
        opened.store,
        opened.keys,
        opened.hasher,
        opened.clock,
        issuer=settings.issuer,
        password_min_length=settings.password_min_length,
        entitlements=settings.entitlement_namespace is not None,
        google=None if settings.google_client_id is None else settings.google_issuer,
    )
