"""Scopes (RFC 6749 §3.3, OpenID Connect Core §5.4 and §11): what a client asks for and may get."""

import re
from collections.abc import Collection, Iterable, Sequence

from idp.domain.client import Client, GrantType, Profile
from idp.domain.lab import LabMembership
from idp.domain.lab_scope import (
    MAX_LAB_SCOPES,
    WLCG_GROUPS,
    LabScope,
    as_confined,
    as_narrow,
    names_lab,
    parse_lab_scope,
    read_lab_request,
)
from idp.protocol.errors import InvalidScope

_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_MAX_SCOPES = 100

SCOPES_SUPPORTED = ("openid", "profile", "email", "address", "phone", "offline_access")
# What speaks about a person and so means nothing for a client that acts for itself.
USER_SCOPES = frozenset(SCOPES_SUPPORTED)
# With the name of a provider: the use of that provider's own API in somebody's name, by token exchange (RFC 8693).
_PROVIDER = "provider:"


def parse_scope(raw: str | None) -> tuple[str, ...]:
    """Return the scope tokens once each, in their order.

    Raises:
        InvalidScope: a token holds a character that is not allowed, or there are absurdly many.
    """
    tokens = tuple(dict.fromkeys((raw or "").split(" ")))
    tokens = tuple(token for token in tokens if token)
    if len(tokens) > _MAX_SCOPES or any(_TOKEN.fullmatch(token) is None for token in tokens):
        raise InvalidScope("The scope is malformed.")
    return tokens


def is_scope_token(text: str) -> bool:
    """Whether the text may be registered as a scope."""
    return _TOKEN.fullmatch(text) is not None


def provider_scope(provider: str) -> str:
    """Return the scope for the API of the provider of that name."""
    return f"{_PROVIDER}{provider}"


def provider_of(token: str) -> str | None:
    """Return the name of the provider for whose API a scope is; None for any other scope."""
    return token.removeprefix(_PROVIDER) if token.startswith(_PROVIDER) else None


def check_user_scope(
    client: Client,
    raw: str | None,
    *,
    code: bool,
    entitlements: bool = True,
    providers: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Return what of the requested scope a user may be asked to give to this client.

    What the client did not register is left out (RFC 6749 §3.3), as is `offline_access` where it could not refresh or
    the answer holds no code (OpenID Connect Core §11), and `entitlements` where there are none. A lab needs no
    registration of its own: the client may see it. `providers` are those whose APIs the client may use; without them
    that is left to the exchange, which looks again in any case.

    Raises:
        InvalidScope: malformed, it names a lab that the client may not see, or nothing is left.
    """
    requested = parse_scope(raw)
    check_lab_scopes(client, requested)
    granted = tuple(
        token
        for token in requested
        if _is_available(client, token)
        and (token != "offline_access" or (code and GrantType.REFRESH_TOKEN in client.grant_types))
        and (token != "entitlements" or entitlements)
        and (providers is None or provider_of(token) in {None, *providers})
    )
    if not granted:
        raise InvalidScope
    return granted


def check_lab_scopes(client: Client, scope: Iterable[str]) -> None:
    """Check the single labs that a scope names, without looking whether there are such labs.

    Raises:
        InvalidScope: one is malformed or not for this client, or there are more than twenty.
    """
    labs = _read_labs(scope)
    if any(not client.may_see(lab.slug) for lab in labs):
        raise InvalidScope(detail="the scope names a lab that is not in the client's allowed_labs")


def _read_labs(scope: Iterable[str]) -> list[LabScope]:
    named = [token for token in scope if names_lab(token)]
    if len(named) > MAX_LAB_SCOPES:
        raise InvalidScope(detail=f"the scope names more than {MAX_LAB_SCOPES} labs")
    try:
        return [parse_lab_scope(token) for token in named]
    except ValueError:
        raise InvalidScope("The scope is malformed.", detail="the scope names a lab that cannot exist") from None


def _is_available(client: Client, token: str) -> bool:
    """Whether a well-formed scope is the client's to ask for, today."""
    if not names_lab(token):
        return token in client.scopes
    if token.startswith(WLCG_GROUPS) and (client.profile is not Profile.WLCG or WLCG_GROUPS not in client.scopes):
        return False
    return client.may_see(parse_lab_scope(token).slug)


def check_client_scope(client: Client, raw: str | None, held: Sequence[LabMembership]) -> tuple[str, ...]:
    """Return what a client that acts for itself may get (RFC 6749 §4.4.2); asking for nothing gives nothing.

    `held` is what labs have given to it, and counts now.

    Raises:
        InvalidScope: malformed, it names a lab that gave the client nothing or a lower role, or nothing is left of it.
    """
    requested = parse_scope(raw)
    roles = {each.lab.slug: each.membership.role for each in held}
    for lab in _read_labs(requested):
        role = roles.get(lab.slug)
        if role is None or (lab.role is not None and not role.contains(lab.role)):
            raise InvalidScope(detail="the scope names a lab that gave the client nothing, or a lower role")
    granted = tuple(
        token for token in requested if names_lab(token) or (token in client.scopes and not _is_about_a_person(token))
    )
    if requested and not granted:
        raise InvalidScope
    return granted


def _is_about_a_person(token: str) -> bool:
    return token in USER_SCOPES or provider_of(token) is not None


def still_registered(client: Client, scope: Iterable[str]) -> tuple[str, ...]:
    """Return what of a granted scope the client could still ask for today."""
    scope = tuple(scope)
    return as_narrow(tuple(token for token in scope if _is_available(client, token)), scope)


def check_narrower(granted: str, raw: str | None) -> tuple[str, ...]:
    """Return the scope of a refresh: what was granted, or a part of it (RFC 6749 §6).

    Of all labs, one is a part; of a lab, a lower role in it is.

    Raises:
        InvalidScope: malformed, or wider than what was granted.
    """
    held = tuple(granted.split())
    requested = parse_scope(raw)
    _read_labs(requested)
    if not all(token in held or (names_lab(token) and _is_part(token, held)) for token in requested):
        raise InvalidScope("The scope is wider than what was granted.")
    asked, given = read_lab_request(requested), read_lab_request(held)
    # Left out, a lab would be told with whatever role the user has in it.
    uncapped = any(None not in caps and slug not in asked.named for slug, caps in given.named.items())
    if asked.all_labs and (uncapped or not given.all_labs):
        raise InvalidScope("The scope is wider than what was granted.")
    # Nor may labs be looked after beyond those that were named.
    if as_confined(requested, held) != requested:
        raise InvalidScope("The scope is wider than what was granted.")
    return requested or held


def _is_part(token: str, held: Sequence[str]) -> bool:
    if token.startswith(WLCG_GROUPS):
        return WLCG_GROUPS in held
    asked = parse_lab_scope(token)
    granted = read_lab_request(held)
    caps = granted.named.get(asked.slug, ())
    above = any(cap is None or (asked.role is not None and cap.contains(asked.role)) for cap in caps)
    return above or ("labs" in held and not caps)
