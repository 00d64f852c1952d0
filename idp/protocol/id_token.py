"""ID tokens (OpenID Connect Core §2, §3.1.3.3, §3.3.2.11)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from idp.domain.grant import Grant

TYPE = "JWT"
UNSIGNED = "none"


def id_token_claims(
    grant: Grant,
    *,
    issuer: str,
    sub: str,
    sid: str | None,
    now: datetime,
    expires_at: datetime,
    hashes: Mapping[str, str],
    released: Mapping[str, Any],
    with_nonce: bool,
) -> dict[str, Any]:
    """Return the claims of an ID token; `released` are those about its user, of which most live in userinfo (§5.4).

    `hashes` are at_hash, c_hash and s_hash as they apply. There is one audience, so no azp. A refreshed one keeps
    everything but `iat`, `exp` and at_hash, and has no nonce (§12.2).
    """
    claims: dict[str, Any] = {
        **released,
        "iss": issuer,
        "sub": sub,
        "aud": grant.client_id,
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "acr": grant.acr,
        "amr": list(grant.amr),
        **hashes,
    }
    if grant.auth_time_known:
        claims["auth_time"] = int(grant.auth_time.timestamp())
    if sid is not None:
        claims["sid"] = sid
    if with_nonce and grant.nonce is not None:
        claims["nonce"] = grant.nonce
    return claims
