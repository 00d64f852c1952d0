"""Refresh token grant (RFC 6749 §6) with idempotent rotation."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from idp.crypto.opaque import derive_successor, hash_token
from idp.domain.audit import AuditAction
from idp.domain.client import Client, GrantType
from idp.domain.grant import AccessToken, Grant, RefreshToken
from idp.domain.user import User
from idp.protocol.errors import InvalidGrant
from idp.protocol.parameters import Parameters
from idp.protocol.refresh_token import RefreshTokenReplayed, Rotation, refresh
from idp.protocol.resource import read_resources
from idp.protocol.scope import check_narrower, still_registered
from idp.services.audit import audit_event
from idp.services.token import GrantContext
from idp.services.token_issuer import TokenIssuer


class RefreshTokenGrant:
    """Exchanges a refresh token for its successor; a retry within the grace gets the same one."""

    grant_type: ClassVar[GrantType] = GrantType.REFRESH_TOKEN

    def __init__(self, context: GrantContext) -> None:
        self._store = context.store
        self._issuer = context.issuer
        self._keys = context.keys

    async def issue(self, client: Client, params: Parameters, *, now: datetime) -> Mapping[str, Any]:
        """Return the token response.

        Raises:
            InvalidRequest: there is no refresh token.
            InvalidGrant: the refresh token does not count.
            InvalidScope: the scope is wider than what was granted.
            InvalidTarget: a resource was not granted, or is registered no more.
        """
        presented = params.require("refresh_token")
        successor = derive_successor(self._keys.refresh, presented)
        held, grant, user, rotation = await self._decide(presented, successor, client, now)
        scope = still_registered(client, check_narrower(held.scope, params.get("scope")))
        audience = await self._issuer.audience(client, grant, read_resources(params))
        response, row = await user_token_response(
            self._issuer,
            client,
            grant,
            user,
            scope=scope,
            audience=audience,
            refresh_token=successor,
            first=False,
            now=now,
        )
        if rotation is Rotation.ROTATE:
            following = refresh_token_row(grant, successor, held.scope, ttl=self._issuer.times.refresh_token, now=now)
            if not await self._store.commit.consume(RefreshToken, held.hash, now=now, then=(following, row)):
                # Somebody else was first with the same token: a retry, judged by what is stored now.
                rotation = (await self._decide(presented, successor, client, now))[-1]
        if rotation is Rotation.REPEAT:
            await self._store.commit.append(row)
        return response

    async def _decide(
        self, presented: str, successor: str, client: Client, now: datetime
    ) -> tuple[RefreshToken, Grant, User, Rotation]:
        issued = await self._store.find_refresh_token(hash_token(presented))
        if issued is None or issued.grant is None or issued.user is None:
            raise InvalidGrant(detail="unknown refresh token")
        token, grant = issued.item, issued.grant
        following = None if token.used_at is None else await self._store.find_refresh_token(hash_token(successor))
        try:
            rotation = refresh(
                token,
                grant,
                issued.user,
                client,
                successor=None if following is None else following.item,
                grace=self._issuer.times.refresh_grace,
                now=now,
            )
        except RefreshTokenReplayed as error:
            async with self._store.write() as tx:
                await tx.grants.revoke(grant.id, now=now)
                event = audit_event(
                    AuditAction.REFRESH_TOKEN_REPLAYED,
                    actor=client.client_id,
                    target=grant.id,
                    now=now,
                    succeeded=False,
                    reason=error.detail,
                )
                await tx.audit_events.add(event)
            raise
        if issued.session_ended and not grant.offline:
            raise InvalidGrant(detail="the session of this refresh token has ended")
        return token, grant, issued.user, rotation


def refresh_token_row(grant: Grant, token: str, scope: str, *, ttl: timedelta, now: datetime) -> RefreshToken:
    """Return the row of a refresh token, which ends no later than its grant."""
    return RefreshToken(
        hash=hash_token(token),
        grant_id=grant.id,
        scope=scope,
        created_at=now,
        expires_at=min(grant.expires_at, now + ttl),
    )


async def user_token_response(
    issuer: TokenIssuer,
    client: Client,
    grant: Grant,
    user: User,
    *,
    scope: Sequence[str],
    audience: Sequence[str],
    refresh_token: str | None,
    first: bool,
    now: datetime,
) -> tuple[dict[str, Any], AccessToken]:
    """Return the token response about a user (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3 and §12.2).

    With it comes the row of its access token, to be committed before the response is sent.
    """
    issued = await issuer.access_token(client, grant, scope, audience=audience, now=now)
    response = issued.response(now=now)
    if refresh_token is not None:
        response["refresh_token"] = refresh_token
    if "openid" in scope:
        response["id_token"] = await issuer.id_token(
            client, grant, user, granted=scope, access_token=issued.token, with_nonce=first, now=now
        )
    return response, issued.row
