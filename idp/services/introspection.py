"""Token introspection (RFC 7662): only for authenticated clients, about tokens that are their business."""

from dataclasses import replace
from typing import Any

from idp.crypto.opaque import hash_token
from idp.domain.claims import LAB_SCOPES, lab_claims
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.protocol.errors import InvalidClient
from idp.protocol.introspection import (
    INACTIVE,
    introspect_access_token,
    introspect_refresh_token,
    may_introspect,
)
from idp.protocol.parameters import Parameters
from idp.services.client_authentication import ClientAuthentication
from idp.services.clients import Clients
from idp.services.resources import Resources
from idp.services.subjects import Subjects
from idp.store.store import Store


class Introspection:
    """Tells the caller whether a token counts now, and what it stands for."""

    def __init__(
        self,
        store: Store,
        authentication: ClientAuthentication,
        clients: Clients,
        resources: Resources,
        subjects: Subjects,
        clock: Clock,
        *,
        issuer: str,
    ) -> None:
        self._resources = resources
        self._subjects = subjects
        self._store = store
        self._authentication = authentication
        self._clients = clients
        self._clock = clock
        self._issuer = issuer

    async def introspect(self, authorization: str | None, params: Parameters) -> dict[str, Any]:
        """Return the answer; a token that is unknown, or none of the caller's business, is just inactive (§2.2).

        Raises:
            InvalidClient: the caller did not authenticate, or cannot (a public client; §2.1).
            InvalidRequest: there is no token.
        """
        params.check_single()
        caller = await self._authentication.authenticate(authorization, params)
        if caller.public:
            raise InvalidClient("Introspection needs a client that can authenticate.")
        token_hash = hash_token(params.require("token"))
        answer = await self._access_token(caller, token_hash)
        return answer if answer is not None else await self._refresh_token(caller, token_hash)

    async def _access_token(self, caller: Client, token_hash: str) -> dict[str, Any] | None:
        issued = await self._store.find_access_token(token_hash)
        if issued is None:
            return None
        token, user = issued.item, issued.user
        client = await self._clients.find(token.client_id)
        if client is None:
            return INACTIVE
        resources = (await self._resources.find_all(token.audiences)).values()
        if not may_introspect(caller, client_id=token.client_id, resources=resources):
            return INACTIVE
        now = self._clock()
        registered = client.scopes
        scope = [name for name in token.scope.split() if name in registered]
        released: dict[str, Any] = {}
        if user is not None and not LAB_SCOPES.isdisjoint(scope):
            memberships = await self._store.find_memberships(user.id)
            released = lab_claims(memberships, client, scope, now=now, reader=caller)
        if (left := " ".join(scope)) != token.scope:
            token = replace(token, scope=left)
        sub = client.client_id if user is None else self._subjects.of(client, user.id)
        return introspect_access_token(
            token, issued.grant, user, issuer=self._issuer, sub=sub, released=released, now=now
        )

    async def _refresh_token(self, caller: Client, token_hash: str) -> dict[str, Any]:
        issued = await self._store.find_refresh_token(token_hash)
        if issued is None or issued.grant is None or issued.user is None:
            return INACTIVE
        if not may_introspect(caller, client_id=issued.grant.client_id, resources=()):
            return INACTIVE
        # Issued to the caller itself, so it is the caller's `sub`.
        sub = self._subjects.of(caller, issued.user.id)
        return introspect_refresh_token(
            issued.item, issued.grant, issued.user, issuer=self._issuer, sub=sub, now=self._clock()
        )
