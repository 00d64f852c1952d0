"""`idp provider`: other providers through which people sign in here."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from idp.cli.run import ACTOR, FAILED, Json, echo_json, group, over_store, refuse
from idp.domain.lab import ManagedBy
from idp.domain.provider import Provider, ProviderStatus

if TYPE_CHECKING:
    from idp.opening import Opened
    from idp.services.provider_dependents import Dependents
    from idp.upstream.connector import Finding

app = group("Other providers through which people sign in here.")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the provider, such as google.")]


@app.command("list")
def list_providers(as_json: Json = False) -> None:
    """List the providers, google of the settings first."""

    async def run(opened: "Opened") -> list[tuple[Provider, str]]:
        providers = opened.providers
        return [(provider, providers.redirect_uri(provider)) for provider in await providers.all()]

    found = over_store(run)
    if as_json:
        echo_json([_document(provider, redirect_uri) for provider, redirect_uri in found])
        return
    for provider, _ in found:
        facts = f"{provider.name:<20}  {provider.kind:<6}  {provider.status:<8}  {provider.managed_by:<8}"
        typer.echo(f"{facts}  {provider.display_name}, {provider.issuer}")


@app.command()
def show(name: _Name, as_json: Json = False) -> None:
    """Show a provider as an apply file writes it, and the callback address to register there."""
    import yaml

    from idp.services.export import plain
    from idp.services.provider_input import provider_document

    async def run(opened: "Opened") -> tuple[Provider, str]:
        providers = opened.providers
        provider = next((each for each in await providers.all() if each.name == name), None)
        if provider is None:
            refuse(f"there is no provider {name}")
        return provider, providers.redirect_uri(provider)

    provider, redirect_uri = over_store(run)
    if as_json:
        echo_json(_document(provider, redirect_uri))
        return
    typer.echo(f"# from: {provider.managed_by}\n# callback address: {redirect_uri}")
    typer.echo(yaml.safe_dump(plain(provider_document(provider)), sort_keys=False, allow_unicode=True), nl=False)


@app.command("test")
def try_out(name: _Name, as_json: Json = False) -> None:
    """Try a provider out, step by step, and say what to change where; nobody signs in."""

    async def run(opened: "Opened") -> "Sequence[Finding]":
        from idp.services.provider_test import ProviderTest
        from idp.services.sign_up import SignUp

        settings = opened.settings
        sign_up = SignUp(settings.registration, settings.registration_domains)
        return await ProviderTest(opened.providers, sign_up, opened.clock, issuer=settings.issuer).run(name)

    findings = over_store(run)
    if as_json:
        echo_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok' if finding.ok else 'failed':<6}  {finding.step}: {finding.text}")
            if finding.advice:
                typer.echo(f"        → {finding.advice}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(FAILED)


@app.command()
def enable(name: _Name, as_json: Json = False) -> None:
    """Let people sign in through a provider again."""
    _set_status(name, ProviderStatus.ACTIVE, as_json=as_json)


@app.command()
def disable(name: _Name, as_json: Json = False) -> None:
    """Let nobody sign in through a provider any more, and say what hangs on it; who is signed in stays so."""
    _set_status(name, ProviderStatus.DISABLED, as_json=as_json)


def _set_status(name: str, status: ProviderStatus, *, as_json: bool) -> None:
    async def run(opened: "Opened") -> "tuple[Provider, str, Dependents | None]":
        from idp.services.provider_dependents import dependents_of
        from idp.services.provider_input import set_provider_status
        from idp.services.providers import GOOGLE

        if name == GOOGLE:
            refuse("google comes from the settings: set or unset IDP_GOOGLE_CLIENT_ID and IDP_GOOGLE_CLIENT_SECRET")
        provider = await set_provider_status(opened.store, opened.clock, name, status, actor=ACTOR)
        redirect_uri = opened.providers.redirect_uri(provider)
        if provider.active:
            return provider, redirect_uri, None
        usable = {each.issuer for each in await opened.providers.shown()}
        async with opened.store.read() as tx:
            return provider, redirect_uri, await dependents_of(tx, provider, usable)

    provider, redirect_uri, hanging = over_store(run)
    if as_json:
        more = {} if hanging is None else {"dependents": asdict(hanging)}
        echo_json({**_document(provider, redirect_uri), **more})
        return
    typer.echo(f"{provider.name} is {provider.status}")
    for text in () if hanging is None else hanging.told():
        typer.echo(f"  {text}")


def _document(provider: Provider, redirect_uri: str) -> dict[str, Any]:
    """Return a provider as an apply file writes it, with what is known besides."""
    from idp.services.provider_input import provider_document

    facts = {"status": provider.status, "managed_by": provider.managed_by, "redirect_uri": redirect_uri}
    secret = True if provider.managed_by is ManagedBy.SETTINGS else provider.sealed_secret is not None
    return {**provider_document(provider), **facts, "has_client_secret": secret}
