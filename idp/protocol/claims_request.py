"""The `claims` request parameter (OpenID Connect Core §5.5)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from idp.domain.claims import SCOPE_OF_CLAIM
from idp.domain.lab_scope import LAB_SCOPES
from idp.protocol.errors import InvalidRequest
from idp.protocol.parameters import Parameters

_MEMBERS = ("userinfo", "id_token")
_KNOWN = frozenset({"sub", "acr", "auth_time", *SCOPE_OF_CLAIM})


class MalformedClaims(InvalidRequest):
    """The claims parameter cannot be read (§5.5)."""

    default_description = "The claims parameter must be a JSON object as in OpenID Connect Core 5.5."


@dataclass(frozen=True, slots=True)
class ClaimsRequest:
    """What was asked for one by one: claim names, each with its wishes (`essential`, `value`, `values`) or None."""

    userinfo: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    id_token: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """The request as it is stored with the grant; empty when nothing was asked for."""
        return {name: dict(getattr(self, name)) for name in _MEMBERS if getattr(self, name)}

    def of_scopes(self, scopes: Iterable[str]) -> "ClaimsRequest":
        """Return what may be released of it to a client with these scopes; `sub` and `acr` are no releases."""
        allowed = set(scopes)
        return ClaimsRequest(**{name: registered_wishes(getattr(self, name), allowed) for name in _MEMBERS})

    @property
    def sub(self) -> str | None:
        """Whom the answer must be about (§5.5.1, §3.1.2.2)."""
        value = (self.id_token.get("sub") or {}).get("value")
        return value if isinstance(value, str) else None

    @property
    def essential_auth_time(self) -> bool:
        """Whether the answer must tell when the user signed in (§2)."""
        return (self.id_token.get("auth_time") or {}).get("essential") is True

    @property
    def essential_acr(self) -> frozenset[str]:
        """One of which must be met (§5.5.1.1); empty when nothing is demanded."""
        wish = self.id_token.get("acr") or {}
        if wish.get("essential") is not True:
            return frozenset()
        values = wish.get("values", [wish["value"]] if "value" in wish else [])
        return frozenset(value for value in values if isinstance(value, str))


def read_claims_request(params: Parameters) -> ClaimsRequest:
    """Return what the claims parameter asks for; members and claims that mean nothing here are ignored (§5.5).

    Raises:
        MalformedClaims: it is none of the JSON objects that the specification describes.
    """
    raw = params.get("claims")
    if raw is None:
        return ClaimsRequest()
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise MalformedClaims from None
    if not isinstance(document, dict):
        raise MalformedClaims
    userinfo, id_token = (_read_member(document.get(name)) for name in _MEMBERS)
    # An ID token tells of labs where the client registered for that, and else whatever is asked never.
    return ClaimsRequest(userinfo, {name: wish for name, wish in id_token.items() if name not in LAB_SCOPES})


def _read_member(member: object) -> dict[str, Mapping[str, Any] | None]:
    if member is None:
        return {}
    if not isinstance(member, dict):
        raise MalformedClaims
    wishes = {name: _read_wish(wish) for name, wish in member.items()}
    return {name: wish for name, wish in wishes.items() if name in _KNOWN}


def _read_wish(wish: object) -> Mapping[str, Any] | None:
    if wish is None:
        return None
    if not isinstance(wish, dict):
        raise MalformedClaims
    essential, values = wish.get("essential", False), wish.get("values", [])
    if not isinstance(essential, bool) or not isinstance(values, list):
        raise MalformedClaims
    if not all(map(_is_plain, [*values, wish.get("value", "")])):
        raise MalformedClaims
    # What else it holds means nothing here (§5.5.1), and this is stored.
    return {name: wish[name] for name in ("essential", "value", "values") if name in wish}


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        # JSON escapes can hold what no database stores.
        return "\x00" not in value and not any("\ud800" <= mark <= "\udfff" for mark in value)
    return isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53)


def matching(claims: Mapping[str, Any], wishes: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return those of a user's claims that were asked for, and have the value asked for if there was one (§5.5.1)."""
    return {name: claims[name] for name, wish in wishes.items() if name in claims and _fits(claims[name], wish or {})}


def _fits(value: object, wish: Mapping[str, Any]) -> bool:
    if "value" in wish:
        return bool(value == wish["value"])
    return "values" not in wish or value in wish["values"]


def registered_wishes(
    wishes: Mapping[str, Mapping[str, Any] | None], scopes: Iterable[str]
) -> dict[str, Mapping[str, Any] | None]:
    """Return the wishes that a client may have: those for claims of a scope that it is registered for."""
    if not wishes:
        return {}
    allowed = set(scopes)
    return {name: wish for name, wish in wishes.items() if SCOPE_OF_CLAIM.get(name) in allowed}
