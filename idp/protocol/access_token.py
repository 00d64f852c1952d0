"""Access tokens: JWTs for resource servers (RFC 9068), judged here by their row (RFC 6750 §3.1)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from idp.domain.grant import AccessToken, Grant
from idp.domain.user import User
from idp.protocol.errors import InsufficientScope, InvalidRequest, InvalidToken, MissingToken

TYPE = "at+jwt"


def access_token_claims(
    *,
    issuer: str,
    sub: str,
    client_id: str,
    audience: Sequence[str],
    scope: str,
    jti: str,
    now: datetime,
    expires_at: datetime,
    released: Mapping[str, Any],
    not_before: bool = False,
    grant: Grant | None = None,
) -> dict[str, Any]:
    """Return the claims of a JWT access token (RFC 9068 §2.2); `released` are the claims about its user.

    `nbf` is there where a profile demands it: readers whose clocks are behind refuse a token for it.
    """
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": sub,
        "aud": audience[0] if len(audience) == 1 else list(audience),
        "client_id": client_id,
        # An empty scope has no place in the grammar (RFC 6749 §3.3): no scope, no member.
        **({"scope": scope} if scope else {}),
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "jti": jti,
        **released,
    }
    if not_before:
        claims["nbf"] = claims["iat"]
    if grant is not None:
        # §2.2.1: the same values as in the ID token, on refresh too.
        if grant.auth_time_known:
            claims["auth_time"] = int(grant.auth_time.timestamp())
        claims["acr"] = grant.acr
        claims["amr"] = list(grant.amr)
    return claims


def is_live(token: AccessToken, grant: Grant | None, user: User | None, *, now: datetime) -> bool:
    """Whether an access token counts at `now`: not expired, not revoked, its grant and user still there."""
    if token.revoked_at is not None or now >= token.expires_at:
        return False
    if token.grant_id is None:
        return True
    return grant is not None and grant.valid(now=now) and user is not None and user.active


def check_scope(token: AccessToken, needed: str) -> None:
    """Check that the token carries a scope.

    Raises:
        InsufficientScope: it does not.
    """
    if needed not in token.scope.split():
        raise InsufficientScope


def read_bearer_token(authorization: str | None, body: str | None) -> str:
    """Return the bearer token of a request from its header or its form (RFC 6750 §2).

    Raises:
        InvalidToken: there is none, or it is no bearer token.
        InvalidRequest: it was sent in two ways (§3.1).
    """
    if authorization is None:
        if body is None:
            raise MissingToken
        return body
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise InvalidToken("The Authorization header holds no Bearer token.")
    if body is not None:
        raise InvalidRequest("The access token was sent twice.")
    return token.strip()
