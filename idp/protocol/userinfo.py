"""UserInfo (OpenID Connect Core §5.3)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from idp.domain.grant import AccessToken, Grant
from idp.domain.user import User
from idp.protocol.access_token import check_scope, is_live
from idp.protocol.errors import InvalidToken


def check_userinfo_token(
    token: AccessToken | None, grant: Grant | None, user: User | None, *, issuer: str, now: datetime
) -> tuple[AccessToken, Grant, User]:
    """Return the token, grant and user that userinfo may speak about.

    Raises:
        InvalidToken: unknown, expired, revoked, for another audience, or of a client that acts for itself.
        InsufficientScope: `openid` was not granted.
    """
    if token is None or not is_live(token, grant, user, now=now):
        raise InvalidToken
    if grant is None or user is None:
        raise InvalidToken("The access token speaks for no user.")
    if issuer not in token.audiences:
        raise InvalidToken("The access token is meant for another audience.")
    check_scope(token, "openid")
    return token, grant, user


def userinfo(sub: str, released: Mapping[str, Any]) -> dict[str, Any]:
    """Return the response: `sub` as in the ID token, then the released claims (§5.3.2)."""
    return {**released, "sub": sub}
