"""`idp keys`: signing keys, and the key-encryption key above them."""

from typing import TYPE_CHECKING, Annotated

import typer

from idp.cli.run import ACTOR, Json, echo_json, group, over_store, refuse

if TYPE_CHECKING:
    from idp.domain.signing_key import SigningKey
    from idp.opening import Opened

app = group("Signing keys and the key-encryption key.")


@app.command("list")
def list_keys(as_json: Json = False) -> None:
    """List the signing keys."""

    async def run(opened: "Opened") -> "list[SigningKey]":
        return await opened.signing_keys.keys()

    _show(over_store(run), as_json=as_json)


@app.command()
def rotate(
    as_json: Json = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if applications that cache the JWKS may not know the next keys yet.")
    ] = False,
) -> None:
    """Let the next keys sign, and prepare new next ones."""

    async def run(opened: "Opened") -> "list[SigningKey]":
        return await opened.signing_keys.rotate(actor=ACTOR, even_if_unpublished=force)

    _show(over_store(run), as_json=as_json)


# A key id may begin with a hyphen.
@app.command(context_settings={"ignore_unknown_options": True})
def revoke(
    kid: Annotated[str, typer.Argument(metavar="KID")],
    now: Annotated[
        bool, typer.Option("--now", help="Confirm: whoever verifies by JWKS refuses every token that the key signed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take a compromised signing key out of the JWKS at once."""
    if not now:
        refuse("every token that the key signed would stop counting: repeat with --now")

    async def run(opened: "Opened") -> "list[SigningKey]":
        if all(key.kid != kid for key in await opened.signing_keys.keys()):
            refuse(f"there is no signing key {kid}")
        return [await opened.signing_keys.revoke(kid, actor=ACTOR)]

    _show(over_store(run), as_json=as_json)


@app.command()
def rewrap(as_json: Json = False) -> None:
    """Make a new key-encryption key; the old file stays beside it, because backups need it."""
    from idp.services.installation import KeySource
    from idp.services.installation import rewrap as rewrap_keys

    async def run(opened: "Opened") -> tuple[str, str]:
        secret = opened.settings.key_encryption_key
        source = KeySource(opened.settings.keys_dir, None if secret is None else secret.get_secret_value())
        return await rewrap_keys(opened.store, source, opened.clock)

    old, new = over_store(run)
    if as_json:
        echo_json({"old_fingerprint": old, "new_fingerprint": new})
    else:
        typer.echo(f"key-encryption key {old} → {new}; back up the new file, and give it to every node")


def _show(keys: "list[SigningKey]", *, as_json: bool) -> None:
    if as_json:
        names = ("kid", "alg", "state", "created_at", "activated_at", "retired_at")
        echo_json([{name: getattr(key, name) for name in names} for key in keys])
        return
    for key in keys:
        typer.echo(f"{key.kid:<45} {key.alg:<6} {key.state:<8} since {key.created_at:%Y-%m-%d %H:%M}")
