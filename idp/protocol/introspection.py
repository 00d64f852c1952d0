"""Token introspection (RFC 7662)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from idp.domain.client import Client
from idp.domain.grant import AccessToken, Grant, RefreshToken
from idp.domain.resource import Resource
from idp.domain.user import User
from idp.protocol.access_token import is_live

INACTIVE: dict[str, Any] = {"active": False}


def may_introspect(caller: Client, *, client_id: str, resources: Iterable[Resource]) -> bool:
    """Whether a token is the caller's business (§4): issued to it, or meant for an API that the caller is."""
    return caller.client_id in {client_id, *(resource.client_id for resource in resources)}


def introspect_access_token(
    token: AccessToken,
    grant: Grant | None,
    user: User | None,
    *,
    issuer: str,
    sub: str,
    released: Mapping[str, Any],
    now: datetime,
) -> dict[str, Any]:
    """Return the answer about an access token (§2.2); `released` are claims evaluated now, not at issuance.

    `sub` is what the token says, or would say.
    """
    if not is_live(token, grant, user, now=now):
        return INACTIVE
    # No `username`: it would tell the name or address of somebody who released neither.
    return {
        "active": True,
        "iss": issuer,
        "sub": sub,
        "aud": token.audience if len(token.audiences) == 1 else list(token.audiences),
        "client_id": token.client_id,
        **({"scope": token.scope} if token.scope else {}),
        "token_type": "Bearer",
        "iat": int(token.created_at.timestamp()),
        "exp": int(token.expires_at.timestamp()),
        "jti": token.jti,
        **released,
    }


def introspect_refresh_token(
    token: RefreshToken, grant: Grant, user: User, *, issuer: str, sub: str, now: datetime
) -> dict[str, Any]:
    """Return the answer about a refresh token; a used one is no longer active."""
    if token.used_at is not None or now >= token.expires_at or not grant.valid(now=now) or not user.active:
        return INACTIVE
    return {
        "active": True,
        "iss": issuer,
        "sub": sub,
        "client_id": grant.client_id,
        "scope": token.scope,
        "iat": int(token.created_at.timestamp()),
        "exp": int(token.expires_at.timestamp()),
    }
