"""ID tokens (OpenID Connect Core §2, §3.1.3.3)."""

from datetime import datetime, timedelta
from typing import Any

from idp.domain.grant import Grant

TYPE = "JWT"


def id_token_claims(
    grant: Grant, *, issuer: str, ttl: timedelta, now: datetime, at_hash: str, with_nonce: bool
) -> dict[str, Any]:
    """Return the claims of an ID token; scope claims live in userinfo (§5.4).

    A refreshed one keeps everything but `iat`, `exp` and `at_hash`, and has no nonce (§12.2).
    """
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": grant.user_id,
        "aud": grant.client_id,
        "iat": int(now.timestamp()),
        "exp": int((now + ttl).timestamp()),
        "auth_time": int(grant.auth_time.timestamp()),
        "acr": grant.acr,
        "amr": list(grant.amr),
        "at_hash": at_hash,
    }
    if grant.session_id is not None:
        claims["sid"] = grant.session_id
    if with_nonce and grant.nonce is not None:
        claims["nonce"] = grant.nonce
    return claims
