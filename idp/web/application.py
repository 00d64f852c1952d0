"""What the pages show of an application: its name, logo and links, and in words what it may have."""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request

from idp.domain.claims import SCOPE_OF_CLAIM
from idp.domain.client import Client
from idp.web.services import Services

_TITLES = {
    "openid": "Who you are",
    "profile": "Your name and profile",
    "email": "Your email",
    "address": "Your postal address",
    "phone": "Your phone number",
    "labs": "Your labs and your role in each",
    "groups": "Your labs as a list of groups",
    "offline_access": "Stay connected",
}
_CLAIM = "claim "


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
    """Return where an address leads, as people recognise it; of a scheme of an application's own all of it."""
    return urlsplit(uri).netloc or uri


def claim_of(token: str) -> str | None:
    """Return the single claim that a token of a consent stands for; None for a scope."""
    return token.removeprefix(_CLAIM) if token.startswith(_CLAIM) else None


def title_of(token: str) -> str:
    """Return in words what a scope or a single claim lets an application have."""
    claim = claim_of(token)
    scope = token if claim is None else SCOPE_OF_CLAIM[claim]
    return _TITLES.get(scope, scope)


def titles_of(tokens: Iterable[str]) -> Sequence[str]:
    """Return the same for all of a consent, each once."""
    return list(dict.fromkeys(map(title_of, tokens)))
