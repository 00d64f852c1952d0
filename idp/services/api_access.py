"""Who calls the API: the person whose token it is, within what their application may see, or a service itself."""

from idp.crypto.opaque import hash_token
from idp.domain.clock import Clock
from idp.protocol.api import check_api_token
from idp.protocol.errors import InvalidToken
from idp.services.clients import Clients
from idp.services.lab_permissions import Actor, Through
from idp.services.labs import Labs
from idp.store.store import Store


class ApiAccess:
    """Turns bearer tokens into actors; grant, user and client are judged as they are now."""

    def __init__(self, store: Store, clients: Clients, labs: Labs, clock: Clock, *, issuer: str) -> None:
        self._store = store
        self._clients = clients
        self._labs = labs
        self._clock = clock
        self._issuer = issuer

    async def admit(self, token: str, *, scope: str) -> Actor:
        """Return who acts with a bearer token, in which a scope is needed.

        Raises:
            InvalidToken, InsufficientScope: see `idp.protocol.api`.
        """
        issued = await self._store.find_access_token(hash_token(token))
        client = None if issued is None else await self._clients.find(issued.item.client_id)
        if issued is None or client is None:
            raise InvalidToken
        grant, user = issued.grant, issued.user
        check_api_token(issued.item, grant, user, client, needed=scope, issuer=self._issuer, now=self._clock())
        if grant is None or user is None:
            return await self._labs.actor_for_service(client)
        through = Through(client, grant.labs, tuple(issued.item.scope.split()))
        return await self._labs.actor_for(user, acr=grant.acr, through=through)
