"""`idp registration-token`: initial access tokens, with which developers register clients (RFC 7591 §1.2)."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli.run import ACTOR, Json, echo_json, group, over_store

if TYPE_CHECKING:
    from idp.domain.registration import InitialAccessToken
    from idp.opening import Opened

app = group("Initial access tokens, with which developers register clients.")

_TEN_YEARS_DAYS = 3650


@app.command()
def create(
    note: Annotated[str, typer.Option(help="Who gets it, and what for.")],
    days: Annotated[int, typer.Option(min=1, max=_TEN_YEARS_DAYS, help="How long it counts.")] = 30,
    as_json: Json = False,
) -> None:
    """Make a token and show it, this once; clients can be registered with it until it expires or is revoked."""
    from idp.services.initial_access_token import InitialAccessTokens

    async def run(opened: "Opened") -> "tuple[InitialAccessToken, str]":
        tokens = InitialAccessTokens(opened.store, opened.clock)
        return await tokens.create(note, lifetime=timedelta(days=days), actor=ACTOR)

    token, text = over_store(run)
    if as_json:
        echo_json({**_document(token), "initial_access_token": text})
        return
    typer.echo(f"id: {token.id}")
    typer.echo(f"expires: {token.expires_at:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"initial access token, shown this once: {text}")


@app.command("list")
def list_tokens(as_json: Json = False) -> None:
    """List the tokens, the newest first."""
    from idp.services.initial_access_token import InitialAccessTokens

    async def run(opened: "Opened") -> "tuple[list[InitialAccessToken], list[str]]":
        tokens = await InitialAccessTokens(opened.store, opened.clock).all()
        return tokens, [_state(token, opened) for token in tokens]

    tokens, states = over_store(run)
    if as_json:
        echo_json([{**_document(token), "state": state} for token, state in zip(tokens, states, strict=True)])
        return
    for token, state in zip(tokens, states, strict=True):
        typer.echo(f"{token.id}  {state:<8}  {token.expires_at:%Y-%m-%d}  {token.note}")


@app.command()
def revoke(id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """Revoke a token; the clients that were registered with it stay."""
    from idp.services.initial_access_token import InitialAccessTokens

    async def run(opened: "Opened") -> "InitialAccessToken":
        return await InitialAccessTokens(opened.store, opened.clock).revoke(id, actor=ACTOR)

    token = over_store(run)
    if as_json:
        echo_json(_document(token))
    else:
        typer.echo(f"revoked: {token.id} ({token.note})")


def _state(token: "InitialAccessToken", opened: "Opened") -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "active" if token.valid(now=opened.clock()) else "expired"


def _document(token: "InitialAccessToken") -> dict[str, Any]:
    return {
        "id": token.id,
        "note": token.note,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "revoked_at": token.revoked_at,
    }
