"""Token revocation (RFC 7009): a refresh token takes its grant along; another client's token stays."""

from idp.crypto.opaque import hash_token
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.protocol.parameters import Parameters
from idp.services.audit import audit_event
from idp.services.client_authentication import ClientAuthentication
from idp.store.store import Store


class Revocation:
    """Revokes tokens for the client they were issued to."""

    def __init__(self, store: Store, authentication: ClientAuthentication, clock: Clock) -> None:
        self._store = store
        self._authentication = authentication
        self._clock = clock

    async def revoke(self, authorization: str | None, params: Parameters) -> None:
        """Revoke the token; unknown ones, and other clients', are no error (§2.2).

        Raises:
            InvalidClient: the client did not authenticate.
            InvalidRequest: there is no token.
        """
        params.check_single()
        client = await self._authentication.authenticate(authorization, params)
        token_hash = hash_token(params.require("token"))
        now = self._clock()
        refresh = await self._store.find_refresh_token(token_hash)
        if refresh is not None and refresh.grant is not None and refresh.grant.client_id == client.client_id:
            async with self._store.write() as tx:
                if await tx.grants.revoke(refresh.grant.id, now=now):
                    event = audit_event(
                        AuditAction.GRANT_REVOKED, actor=client.client_id, target=refresh.grant.id, now=now
                    )
                    await tx.audit_events.add(event)
            return
        access = await self._store.find_access_token(token_hash)
        if access is not None and access.item.client_id == client.client_id:
            async with self._store.write() as tx:
                await tx.access_tokens.revoke(token_hash, now=now)
