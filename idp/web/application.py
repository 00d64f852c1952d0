"""What the pages show of an application: its name, logo and links, and in words what it may have."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from idp.domain.claims import SCOPE_OF_CLAIM
from idp.domain.client import Client
from idp.domain.lab_scope import names_lab, parse_lab_scope
from idp.domain.provider import Provider
from idp.protocol.parameters import Parameters
from idp.protocol.scope import provider_of
from idp.web.services import Services

_TITLES = {
    "openid": "Who you are",
    "profile": "Your name and profile",
    "email": "Your email",
    "address": "Your postal address",
    "phone": "Your phone number",
    "labs": "Your labs and your role in each",
    "groups": "Your labs as a list of groups",
    "entitlements": "Your labs as entitlements",
    "wlcg.groups": "Your labs as a list of groups",
    "labs:read": "See the members of your labs",
    "labs:write": "Manage your labs for you",
    "offline_access": "Stay connected",
}
_CLAIM, _RESOURCE = "claim ", "resource "
_LAB = "lab."
# A form has a box for each lab that somebody is in, which may be hundreds.
MAX_LAB_FIELDS = 2000
_SHOWN_CHARS = 60


async def describe(request: Request[Services], client: Client) -> dict[str, Any]:
    """Return what a page that an application led to shows of it (RFC 7591 §2)."""
    return {
        "name": client.client_name,
        "uri": client.client_uri,
        "policy_uri": client.policy_uri,
        "tos_uri": client.tos_uri,
        "unverified": client.self_registered,
        "logo": await request.state["logos"].url(client),
    }


def host_of(uri: str) -> str:
    """Return where an address leads, as people recognise it: a host, or a scheme of an application's own.

    What such a scheme has in the place of a host means nothing to anybody else, and could be a lie: it is left out.
    """
    parts = urlsplit(uri)
    if parts.scheme in {"http", "https"}:
        return parts.netloc
    return f"{parts.scheme}://…" if parts.netloc else uri if len(uri) <= _SHOWN_CHARS else f"{uri[:_SHOWN_CHARS]}…"


def known_as(client: Client) -> str:
    """Return what a link of ours to an application says: its name, if somebody here has checked it, else the host."""
    if not client.self_registered:
        return client.client_name
    address = client.initiate_login_uri or next(iter(client.redirect_uris), None)
    return client.client_id if address is None else host_of(address)


def claim_of(token: str) -> str | None:
    """Return the single claim that a token of a consent stands for; None for a scope."""
    return token.removeprefix(_CLAIM) if token.startswith(_CLAIM) else None


def scope_of(token: str) -> str:
    """Return the scope that a token of a consent is, or to which the claim belongs that it stands for."""
    claim = claim_of(token)
    return token if claim is None else SCOPE_OF_CLAIM[claim]


def resource_of(token: str) -> str | None:
    """Return the URI of the API that a token of a consent stands for; None for anything else."""
    return token.removeprefix(_RESOURCE) if token.startswith(_RESOURCE) else None


async def find_providers(request: Request[Services]) -> Mapping[str, Provider]:
    """Return the providers by whose names a scope may call them."""
    return {provider.name: provider for provider in await request.state["providers"].shown()}


def title_of(token: str, providers: Mapping[str, Provider] = {}) -> str:
    """Return in words what a scope, a single claim or an API lets an application have."""
    resource = resource_of(token)
    if resource is not None:
        return f"Act for you at {resource}"
    scope = scope_of(token)
    if names_lab(scope):
        lab = parse_lab_scope(scope)
        return f"Lab {lab.slug}" if lab.role is None else f"Lab {lab.slug}, at most as {lab.role}"
    if (name := provider_of(scope)) is not None:
        return _provider_title(name, providers.get(name))
    return _TITLES.get(scope, scope)


def _provider_title(name: str, provider: Provider | None) -> str:
    if provider is None or not provider.api_scope:
        return f"Use your account at {name}"
    return f"Use your {provider.display_name} account: {provider.api_scope}"


def titles_of(tokens: Iterable[str], providers: Mapping[str, Provider] = {}) -> Sequence[str]:
    """Return the same for all of a consent, each once."""
    return list(dict.fromkeys(title_of(token, providers) for token in tokens))


def ticked_labs(form: Parameters) -> frozenset[str]:
    """Return the slugs of the labs whose boxes are ticked in a form."""
    return frozenset(name.removeprefix(_LAB) for name in form.values if name.startswith(_LAB))
