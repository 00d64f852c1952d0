"""Access tokens at this server's own API (RFC 6750)."""

from datetime import datetime

from idp.domain.client import Client
from idp.domain.grant import AccessToken, Grant
from idp.domain.user import User
from idp.protocol.access_token import check_scope, is_live
from idp.protocol.errors import InsufficientScope, InvalidToken


def check_api_token(
    token: AccessToken,
    grant: Grant | None,
    user: User | None,
    client: Client,
    *,
    needed: str,
    issuer: str,
    now: datetime,
) -> None:
    """Check that a token may be used at the API for something that needs a scope.

    Raises:
        InvalidToken: expired, revoked, or meant for another audience.
        InsufficientScope: the scope was not granted, or the client is registered for it no more.
    """
    if not is_live(token, grant, user, now=now):
        raise InvalidToken
    # Another audience beside this one could use it here itself.
    if token.audiences != (issuer,):
        raise InvalidToken("The access token is meant for another audience.")
    check_scope(token, needed)
    if needed not in client.scopes:
        raise InsufficientScope(detail="the client is not registered for the scope any more")
