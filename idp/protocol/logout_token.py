"""Logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.4)."""

from datetime import datetime, timedelta
from typing import Any

TYPE = "logout+jwt"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
# At most two minutes (§4); each attempt has a token of its own, so it need not outlive one.
TTL = timedelta(minutes=2)


def logout_token_claims(*, issuer: str, client_id: str, sub: str, sid: str, jti: str, now: datetime) -> dict[str, Any]:
    """Return the claims of one attempt to tell a client that a session has ended (§2.4).

    There is never a nonce, so that nobody can take it for an ID token (§2.4, §2.6).
    """
    return {
        "iss": issuer,
        "sub": sub,
        "aud": client_id,
        "iat": int(now.timestamp()),
        "exp": int((now + TTL).timestamp()),
        "jti": jti,
        "sid": sid,
        "events": {EVENT: {}},
    }
