"""Scopes (RFC 6749 §3.3, OpenID Connect Core §5.4 and §11): what a client asks for and may get."""

import re

from idp.domain.client import Client, GrantType
from idp.protocol.errors import InvalidScope

_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_MAX_SCOPES = 100

# What speaks about a person and so means nothing for a client that acts for itself.
USER_SCOPES = frozenset({"openid", "profile", "email", "address", "phone", "offline_access"})
SCOPES_SUPPORTED = ("openid", "profile", "email", "address", "phone", "offline_access", "labs", "groups")


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


def check_user_scope(client: Client, raw: str | None, *, code: bool) -> tuple[str, ...]:
    """Return what of the requested scope a user may be asked to give to this client.

    What the client did not register is left out (RFC 6749 §3.3), as is `offline_access` where it could not refresh or
    the answer holds no code (OpenID Connect Core §11).

    Raises:
        InvalidScope: malformed, or nothing is left.
    """
    allowed = set(client.scopes)
    if GrantType.REFRESH_TOKEN not in client.grant_types or not code:
        allowed.discard("offline_access")
    granted = tuple(token for token in parse_scope(raw) if token in allowed)
    if not granted:
        raise InvalidScope
    return granted


def check_client_scope(client: Client, raw: str | None) -> tuple[str, ...]:
    """Return what a client that acts for itself may get (RFC 6749 §4.4.2); asking for nothing gives nothing.

    Raises:
        InvalidScope: malformed, or nothing is left of what was asked for.
    """
    requested = parse_scope(raw)
    granted = tuple(token for token in requested if token in client.scopes and token not in USER_SCOPES)
    if requested and not granted:
        raise InvalidScope
    return granted


def still_registered(client: Client, scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return what of a granted scope the client is registered for today.

    Raises:
        InvalidScope: nothing is left.
    """
    registered = client.scopes
    left = tuple(token for token in scope if token in registered)
    if not left:
        raise InvalidScope
    return left


def check_narrower(granted: str, raw: str | None) -> tuple[str, ...]:
    """Return the scope of a refresh: what was granted, or a part of it (RFC 6749 §6).

    Raises:
        InvalidScope: malformed, or wider than what was granted.
    """
    held = tuple(granted.split())
    requested = parse_scope(raw)
    if not set(requested) <= set(held):
        raise InvalidScope("The scope is wider than what was granted.")
    return requested or held
