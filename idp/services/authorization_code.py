"""Authorization code grant at the token endpoint (RFC 6749 §4.1.3)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from idp.crypto.opaque import hash_token, mint_token
from idp.domain.audit import AuditAction
from idp.domain.client import Client, GrantType
from idp.domain.grant import AuthorizationCode, Grant
from idp.protocol.authorization_code import CodeReplayed, redeem_code
from idp.protocol.errors import InvalidGrant
from idp.protocol.parameters import Parameters
from idp.protocol.resource import read_resources
from idp.services.audit import audit_event
from idp.services.refresh_token import refresh_token_row, user_token_response
from idp.services.token import GrantContext


class AuthorizationCodeGrant:
    """Exchanges a code for tokens, once; a second use revokes what the first one gave."""

    grant_type: ClassVar[GrantType] = GrantType.AUTHORIZATION_CODE

    def __init__(self, context: GrantContext) -> None:
        self._store = context.store
        self._issuer = context.issuer

    async def issue(self, client: Client, params: Parameters, *, now: datetime) -> Mapping[str, Any]:
        """Return the token response (RFC 6749 §4.1.4).

        Raises:
            InvalidRequest: there is no code.
            InvalidGrant: the code does not count, or was used.
            InvalidTarget: a resource was not granted, or is registered no more.
        """
        issued = await self._store.find_authorization_code(hash_token(params.require("code")))
        if issued is None or issued.grant is None or issued.user is None:
            raise InvalidGrant(detail="unknown code")
        code, grant = issued.item, issued.grant
        try:
            redeem_code(
                code,
                grant,
                issued.user,
                client,
                redirect_uri=params.get("redirect_uri"),
                code_verifier=params.get("code_verifier"),
                now=now,
            )
        except CodeReplayed:
            await self._revoke(grant, client, now)
            raise
        if issued.session_ended:
            # Signed out between the two requests; this holds for what was meant to outlive the session as well.
            raise InvalidGrant(detail="the session of this code has ended")
        refresh_token = mint_token() if GrantType.REFRESH_TOKEN in client.grant_types else None
        response, row = await user_token_response(
            self._issuer,
            client,
            grant,
            issued.user,
            scope=grant.scope.split(),
            audience=await self._issuer.audience(client, grant, read_resources(params)),
            refresh_token=refresh_token,
            first=True,
            now=now,
        )
        rows: list[object] = [row]
        if refresh_token is not None:
            ttl = self._issuer.times.refresh_token
            rows.append(refresh_token_row(grant, refresh_token, grant.scope, ttl=ttl, now=now))
        # Signed before, so that no connection is held meanwhile; only the winner's rows are ever inserted.
        if not await self._store.commit.consume(AuthorizationCode, code.hash, now=now, then=rows):
            await self._revoke(grant, client, now)
            raise CodeReplayed(detail="the code was used at the same time")
        return response

    async def _revoke(self, grant: Grant, client: Client, now: datetime) -> None:
        async with self._store.write() as tx:
            await tx.grants.revoke(grant.id, now=now)
            event = audit_event(
                AuditAction.CODE_REPLAYED, actor=client.client_id, target=grant.id, now=now, succeeded=False
            )
            await tx.audit_events.add(event)
