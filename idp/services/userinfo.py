"""UserInfo (OpenID Connect Core §5.3): claims as they are now, never as they were when the token was issued."""

from typing import Any

from idp.crypto.opaque import hash_token
from idp.domain.claims import LAB_SCOPES, lab_claims, user_claims
from idp.domain.clock import Clock
from idp.protocol.errors import InvalidToken
from idp.protocol.userinfo import check_userinfo_token, userinfo
from idp.services.clients import Clients
from idp.store.store import Store


class UserInfo:
    """Answers with the claims of the scopes that were granted."""

    def __init__(self, store: Store, clients: Clients, clock: Clock, *, issuer: str) -> None:
        self._store = store
        self._clients = clients
        self._clock = clock
        self._issuer = issuer

    async def read(self, token: str) -> dict[str, Any]:
        """Return the response for a bearer token.

        Raises:
            InvalidToken, InsufficientScope: see `idp.protocol.userinfo`.
        """
        issued = await self._store.find_access_token(hash_token(token))
        if issued is None:
            raise InvalidToken
        now = self._clock()
        row, _, user = check_userinfo_token(issued.item, issued.grant, issued.user, issuer=self._issuer, now=now)
        client = await self._clients.find(row.client_id)
        if client is None:
            raise InvalidToken
        scope = [token for token in row.scope.split() if token in client.scopes]
        claims = user_claims(user, scope)
        if not LAB_SCOPES.isdisjoint(scope):
            claims |= lab_claims(await self._store.find_memberships(user.id), client, scope, now=now)
        return userinfo(user, claims)
