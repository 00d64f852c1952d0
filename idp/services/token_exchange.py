"""Token exchange grant (RFC 8693): somebody's access token of ours for one of another provider's API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from idp.crypto.opaque import hash_token
from idp.domain.client import Client, GrantType
from idp.domain.provider import Provider
from idp.domain.user import User
from idp.protocol.errors import UnauthorizedClient
from idp.protocol.parameters import Parameters
from idp.protocol.token_exchange import (
    Subject,
    UnknownSubject,
    check_subject,
    check_targets,
    exchange_response,
    read_exchange_request,
)
from idp.services.providers import Providers
from idp.services.token import GrantContext
from idp.services.upstream_tokens import UpstreamTokens


@dataclass(frozen=True, slots=True)
class ExchangeContext(GrantContext):
    """What this grant works with beside what all of them do."""

    providers: Providers


class TokenExchangeGrant:
    """Gives an application what a person has allowed it at another provider; no token of ours is issued."""

    grant_type: ClassVar[GrantType] = GrantType.TOKEN_EXCHANGE

    def __init__(self, context: ExchangeContext) -> None:
        self._store = context.store
        self._resources = context.resources
        self._providers = context.providers
        self._upstream_tokens = UpstreamTokens(context.store, context.keys, context.providers)

    async def issue(self, client: Client, params: Parameters, *, now: datetime) -> Mapping[str, Any]:
        """Return the token response (§2.2.1).

        Raises:
            UnauthorizedClient: the client keeps no secret: whoever found a token could exchange it.
            InvalidRequest: something is missing, or the subject token is not good enough (§2.2.2).
            InvalidTarget: the client may use the API of no such provider.
            InvalidGrant, InvalidScope, TemporarilyUnavailable: see `UpstreamTokens.release`.
        """
        if client.public:
            raise UnauthorizedClient
        request = read_exchange_request(params)
        targets = check_targets(request, client, await self._providers.shown())
        user, provider = await self._subject(client, request.subject_token, targets, now)
        token = await self._upstream_tokens.release(provider, user.id, client.client_id, scope=request.scope, now=now)
        return exchange_response(token.access_token, expires_in=token.expires_in, scope=token.scope or "")

    async def _subject(
        self, caller: Client, subject_token: str, targets: Sequence[Provider], now: datetime
    ) -> tuple[User, Provider]:
        issued = await self._store.find_access_token(hash_token(subject_token))
        if issued is None:
            raise UnknownSubject(detail="unknown subject token")
        token, user = issued.item, issued.user
        subject = Subject(
            token=token,
            grant=issued.grant,
            user=user,
            client=await self._store.find_client(token.client_id),
            consent=None if user is None else await self._store.find_consent(user.id, token.client_id),
        )
        resources = (await self._resources.find_all(token.audiences)).values()
        return check_subject(subject, caller, targets, resources=resources, now=now)
