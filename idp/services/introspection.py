"""Token introspection (RFC 7662): only for authenticated clients, about tokens that are their business."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from idp.crypto.opaque import hash_token
from idp.domain.acr import ACR_LADDER
from idp.domain.claims import EntitlementNamespace
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.grant import Grant
from idp.domain.lab_release import AllowedLabs
from idp.domain.lab_scope import is_about_labs, names_lab
from idp.domain.release import Release, release
from idp.protocol.errors import InvalidClient
from idp.protocol.introspection import (
    INACTIVE,
    introspect_access_token,
    introspect_refresh_token,
    may_introspect,
)
from idp.protocol.parameters import Parameters
from idp.protocol.scope import still_registered
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
        namespace: EntitlementNamespace | None,
    ) -> None:
        self._resources = resources
        self._subjects = subjects
        self._store = store
        self._authentication = authentication
        self._clients = clients
        self._clock = clock
        self._issuer = issuer
        self._namespace = namespace

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
        released = await self._release(client, issued.grant, token.scope, caller, now)
        # As it would be given now, and as far as the caller may know.
        token = replace(token, scope=" ".join(released.scope))
        sub = client.client_id if user is None else self._subjects.of(client, user.id)
        return introspect_access_token(
            token, issued.grant, user, issuer=self._issuer, sub=sub, released=released.claims, now=now
        )

    async def _refresh_token(self, caller: Client, token_hash: str) -> dict[str, Any]:
        issued = await self._store.find_refresh_token(token_hash)
        if issued is None or issued.grant is None or issued.user is None:
            return INACTIVE
        if not may_introspect(caller, client_id=issued.grant.client_id, resources=()):
            return INACTIVE
        now = self._clock()
        released = await self._release(caller, issued.grant, issued.item.scope, caller, now)
        token = replace(issued.item, scope=" ".join(released.scope))
        # Issued to the caller itself, so it is the caller's `sub`.
        sub = self._subjects.of(caller, issued.user.id)
        return introspect_refresh_token(token, issued.grant, issued.user, issuer=self._issuer, sub=sub, now=now)

    async def _release(self, client: Client, grant: Grant | None, scope: str, caller: Client, now: datetime) -> Release:
        """Return what is released of a token's scope now, to whom it was issued and to the caller."""
        tokens = tuple(scope.split())
        about_labs = any(map(is_about_labs, tokens))
        reader: AllowedLabs = "*" if caller.client_id == client.client_id else caller.allowed_labs
        if grant is not None:
            held = await self._store.find_memberships(grant.user_id) if about_labs else ()
            return release(
                client,
                still_registered(client, tokens),
                now=now,
                memberships=held,
                consent=grant.labs,
                acr=grant.acr,
                reader=reader,
                namespace=self._namespace,
            )
        given = await self._store.find_lab_grants(client.client_id) if about_labs else ()
        registered = tuple(token for token in tokens if names_lab(token) or token in client.scopes)
        return release(
            client,
            registered,
            now=now,
            memberships=given,
            acr=ACR_LADDER[-1],
            allowed="*",
            reader=reader,
            namespace=self._namespace,
        )
