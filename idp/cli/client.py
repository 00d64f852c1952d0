"""`idp client`: applications and services."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from idp.cli.run import ACTOR, Json, Person, echo_json, group, over_store, refuse
from idp.domain.client import ApplicationType, Client, ClientAuthMethod, GrantType

if TYPE_CHECKING:
    from idp.domain.lab import LabMembership
    from idp.opening import Opened
    from idp.services.claims_preview import Preview

app = group("Applications and services.")

_YEAR_HOURS = 365 * 24
_Id = Annotated[str, typer.Argument(metavar="CLIENT_ID")]


@app.command()
def create(
    client_id: Annotated[str | None, typer.Option(help="By default one is made up.")] = None,
    client_name: Annotated[str | None, typer.Option("--name", help="Name that people read.")] = None,
    redirect_uri: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    post_logout_redirect_uri: Annotated[list[str] | None, typer.Option(help="Repeatable.")] = None,
    grant_type: Annotated[list[GrantType] | None, typer.Option(help="Repeatable.")] = None,
    response_type: Annotated[
        list[str] | None, typer.Option(help="Repeatable; by default code, with the grant type authorization_code.")
    ] = None,
    auth_method: Annotated[
        ClientAuthMethod,
        typer.Option(help="none makes a public client, without a secret; private_key_jwt needs --jwks-uri."),
    ] = ClientAuthMethod.CLIENT_SECRET_BASIC,
    jwks_uri: Annotated[str | None, typer.Option(help="Address of the client's public keys.")] = None,
    application_type: Annotated[ApplicationType, typer.Option()] = ApplicationType.WEB,
    scope: Annotated[str, typer.Option(help="Scopes that it may ask for, in quotes.")] = "openid profile email",
    allowed_lab: Annotated[list[str] | None, typer.Option(help="Lab that it may learn of, or *; repeatable.")] = None,
    trusted: Annotated[bool, typer.Option("--trusted", help="Skip the consent page.")] = False,
    as_json: Json = False,
) -> None:
    """Register a client and show its secret, this once; `idp apply` knows every other setting."""
    raw = {
        **({} if client_id is None else {"client_id": client_id}),
        "client_name": client_name,
        "redirect_uris": redirect_uri or [],
        "post_logout_redirect_uris": post_logout_redirect_uri or [],
        "grant_types": grant_type or [GrantType.AUTHORIZATION_CODE],
        "response_types": response_type,
        "token_endpoint_auth_method": auth_method,
        "jwks_uri": jwks_uri,
        "application_type": application_type,
        "scope": scope,
        "allowed_labs": "*" if allowed_lab == ["*"] else allowed_lab or [],
        "trusted": trusted,
    }

    async def run(opened: "Opened") -> tuple[Client, str | None]:
        from idp.services.client_input import register

        issuer = opened.settings.issuer
        return await register(opened.store, opened.keys, opened.clock, raw, issuer=issuer, actor=ACTOR)

    client, secret = over_store(run)
    _show_secret(client.client_id, secret, as_json=as_json)


@app.command()
def rotate_secret(
    client_id: _Id,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=_YEAR_HOURS, help="How long the old secret is accepted still.")
    ] = 24,
    as_json: Json = False,
) -> None:
    """Give a client a new secret and show it, this once."""

    async def run(opened: "Opened") -> str:
        from idp.services.client_input import SECRETLESS

        method = (await _get(opened, client_id)).token_endpoint_auth_method
        if method in SECRETLESS:
            refuse(f"{client_id} has no secret: its token_endpoint_auth_method is {method}")
        overlap = timedelta(hours=overlap_hours)
        return await opened.clients.rotate_secret(client_id, overlap=overlap, actor=ACTOR)

    _show_secret(client_id, over_store(run), as_json=as_json)


@app.command()
def show(client_id: _Id, as_json: Json = False) -> None:
    """Show a client's settings and what labs give to it, as an apply file writes them."""
    import yaml

    from idp.services.export import client_document, plain

    async def run(opened: "Opened") -> "tuple[Client, Sequence[LabMembership]]":
        async with opened.store.read() as tx:
            return await _get(opened, client_id), await tx.lab_grants.of_client(client_id)

    client, held = over_store(run)
    document = client_document(client, [(each.membership, each.lab) for each in held])
    if as_json:
        echo_json({**document, "secrets": [{"expires_at": secret.expires_at} for secret in client.secrets]})
    else:
        typer.echo(yaml.safe_dump(plain(document), sort_keys=False, allow_unicode=True), nl=False)


@app.command()
def preview(
    client_id: _Id,
    user: Person,
    scope: Annotated[str, typer.Option(help="What the client would ask for, in quotes.")],
    acr: Annotated[str, typer.Option(help="How the person would have signed in: 1, or 2 for two factors.")] = "1",
    as_json: Json = False,
) -> None:
    """Show what a client would be told about somebody, and why each claim and lab is there or not; mints nothing."""

    async def run(opened: "Opened") -> "Preview":
        from idp.opening import entitlement_namespace
        from idp.services.claims_preview import ClaimsPreview
        from idp.services.lab_permissions import OPERATOR

        service = ClaimsPreview(opened.store, opened.clock, namespace=entitlement_namespace(opened.settings))
        return await service.of(OPERATOR, client_id, user, scope, acr=acr)

    found = over_store(run)
    if as_json:
        echo_json(asdict(found))
        return
    typer.echo(f"scope: {' '.join(found.scope) or 'nothing is left of it: invalid_scope'}")
    typer.echo(f"consent: {found.consent.replace('_', ' ')}")
    for title, told in (
        ("userinfo", found.userinfo),
        ("access token", found.access_token),
        ("ID token", found.id_token),
    ):
        typer.echo(f"{title}: {json.dumps(told, ensure_ascii=False)}")
    for name, reason in (*found.labs.items(), *found.claims.items()):
        typer.echo(f"  {name}: {reason.replace('_', ' ')}")


async def _get(opened: "Opened", client_id: str) -> Client:
    client = await opened.store.find_client(client_id)
    if client is None:
        refuse(f"there is no client {client_id}")
    return client


def _show_secret(client_id: str, secret: str | None, *, as_json: bool) -> None:
    if as_json:
        echo_json({"client_id": client_id, **({} if secret is None else {"client_secret": secret})})
        return
    typer.echo(f"client_id: {client_id}")
    if secret is not None:
        typer.echo(f"client_secret, shown this once: {secret}")
