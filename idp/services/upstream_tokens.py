"""Using another provider's API in somebody's name: its refresh token is kept sealed, and never leaves this server.

One is kept only where an application needs it: for a sign-in within a request for the scope `provider:<name>`.
"""

import asyncio
from dataclasses import replace
from datetime import datetime
from weakref import WeakValueDictionary

from idp.crypto.envelope import CannotUnseal, seal, unseal
from idp.domain.audit import AuditAction
from idp.domain.provider import Provider
from idp.domain.upstream import LinkedAccount, UpstreamIdentity
from idp.observe.logs import get_logger
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.errors import InvalidGrant, InvalidScope, TemporarilyUnavailable
from idp.protocol.scope import provider_scope
from idp.protocol.token_exchange import may_use_api
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.providers import Providers
from idp.store.errors import NotFound
from idp.store.store import Store
from idp.upstream.connector import ApiToken

# Another node may have been given the successor of a token at the moment when we used it up.
_ATTEMPTS = 2
_log = get_logger(__name__)


class ApiNotConnected(InvalidGrant):
    """No token of the provider is kept for the user, or it was taken back."""

    default_description = (
        "The user has not connected the provider's API, or has to do so again: send them here with this scope, and "
        "with prompt=select_account or prompt=login, to sign in through the provider."
    )


class OtherApiScope(InvalidScope):
    """The scope is another one than what the user connected."""

    default_description = (
        "The scope differs from what the user connected: leave it out, and read the scope in the answer."
    )


class ProviderGivesNone(TemporarilyUnavailable):
    """The provider is down, refuses us, or gives more than may be released."""

    default_description = "The provider gives no token now: try again in a while."


def asks_for_api(provider: Provider, request: AuthorizationRequest | None) -> bool:
    """Whether a sign-in at a provider is to connect its API: the application of the request wants it, and may."""
    if request is None or provider_scope(provider.name) not in request.scope:
        return False
    return may_use_api(request.client, provider)


def kept_token(keys: DataKeys, provider: Provider, linked: LinkedAccount, identity: UpstreamIdentity) -> LinkedAccount:
    """Return the link with the refresh token that the person came back with, sealed; as it is where there is none."""
    if identity.refresh_token is None or not identity.api_scope or not provider.api_clients:
        return linked
    return replace(
        linked, sealed_refresh_token=_sealed(keys, linked, identity.refresh_token), api_scope=identity.api_scope
    )


class UpstreamTokens:
    """Gets access tokens for providers' APIs.

    A provider may make a refresh token useless as soon as it was used, and give a successor (RFC 6749 §6). So for each
    person one call at a time is under way in this process, and its successor is saved even if nobody waits for the
    answer any more. Nodes do not wait for each other: who finds its token refused, and another one saved meanwhile,
    tries that one. A provider that takes the second use for theft (RFC 9700 §4.14.2) may end all of them even so, and
    the person has to connect it again.
    """

    def __init__(self, store: Store, keys: DataKeys, providers: Providers) -> None:
        self._store = store
        self._keys = keys
        self._providers = providers
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._calls: set[asyncio.Task[ApiToken]] = set()

    async def release(
        self, provider: Provider, user_id: str, client_id: str, *, scope: tuple[str, ...], now: datetime
    ) -> ApiToken:
        """Return an access token of a provider's API for a client, in a user's name; its `scope` is what it is for.

        Raises:
            InvalidGrant: the user has not connected it, or it was taken back there; then what was kept is forgotten.
            InvalidScope: the scope is not what the user connected.
            TemporarilyUnavailable: the provider is down, refuses us, or gives a token for more than was connected.
        """
        call = asyncio.create_task(self._in_turn(provider, user_id, client_id, scope, now))
        self._calls.add(call)
        call.add_done_callback(self._done)
        return await asyncio.shield(call)

    def _done(self, call: asyncio.Task[ApiToken]) -> None:
        self._calls.discard(call)
        # Looked at here, because whoever waited for it may be gone.
        if not call.cancelled():
            call.exception()

    async def _in_turn(
        self, provider: Provider, user_id: str, client_id: str, scope: tuple[str, ...], now: datetime
    ) -> ApiToken:
        lock = self._locks.setdefault((user_id, provider.issuer), asyncio.Lock())
        async with lock:
            for _ in range(_ATTEMPTS):
                linked = await self._find(provider, user_id)
                if scope and set(scope) != set(linked.api_scope.split()):
                    raise OtherApiScope
                try:
                    connector = self._providers.connector(provider)
                    token = await connector.api_token(self._open(linked), scope=linked.api_scope)
                except UpstreamRefused as refused:
                    _log.info("upstream.token_refused", provider=provider.name, link=linked.id, detail=refused.detail)
                    if refused.fault is not UpstreamFault.DENIED:
                        raise ProviderGivesNone(detail=f"{provider.name}: {refused.detail}") from None
                    if await self._forget(linked):
                        raise ApiNotConnected(detail=f"{provider.name}: {refused.detail}") from None
                else:
                    await self._keep(linked, token, client_id, now)
                    return replace(token, refresh_token=None, scope=token.scope or linked.api_scope)
        raise ProviderGivesNone(detail=f"{provider.name}: its refresh token changed again and again")

    async def _find(self, provider: Provider, user_id: str) -> LinkedAccount:
        """Return the user's link whose token may be used, of several the one that was used last.

        By the issuer, so that a provider which is set up otherwise now never gets what another one gave. What the
        administrators allow no more is not used either.
        """
        async with self._store.read() as tx:
            held = await tx.linked_accounts.of_user(user_id)
        allowed = set(provider.api_scope.split())
        usable = [
            linked
            for linked in held
            if linked.issuer == provider.issuer
            and linked.sealed_refresh_token is not None
            and allowed.issuperset(linked.api_scope.split())
        ]
        if not usable:
            raise ApiNotConnected(detail=f"no token of {provider.name} is kept that may be used")
        return max(usable, key=lambda linked: linked.last_used_at or linked.created_at)

    async def _keep(self, linked: LinkedAccount, token: ApiToken, client_id: str, now: datetime) -> None:
        """Save the successor, if there is one, and record that the token is released, if it may be.

        What somebody else saved meanwhile is newer and stays; that it was only forgotten was an error then.

        Raises:
            InvalidGrant: the user took the link away meanwhile, or is disabled.
            TemporarilyUnavailable: the token is for more than the user connected; its successor counts all the same.
        """
        is_wider = not set((token.scope or "").split()).issubset(linked.api_scope.split())
        async with self._store.write() as tx:
            try:
                # In the order of those who change links by their users.
                user = await tx.users.lock(linked.user_id)
                present = await tx.linked_accounts.lock(linked.id)
            except NotFound:
                raise ApiNotConnected(detail="the link was taken away meanwhile") from None
            if token.refresh_token is not None and present.sealed_refresh_token in {None, linked.sealed_refresh_token}:
                sealed = _sealed(self._keys, linked, token.refresh_token)
                await tx.linked_accounts.save(replace(present, sealed_refresh_token=sealed, api_scope=linked.api_scope))
            if user.active and not is_wider:
                event = audit_event(
                    AuditAction.UPSTREAM_TOKEN_RELEASED,
                    actor=client_id,
                    target=user.id,
                    now=now,
                    provider=linked.provider,
                    link=linked.id,
                )
                await tx.audit_events.add(event)
        if not user.active:
            raise InvalidGrant(detail="the user was disabled meanwhile")
        if is_wider:
            raise ProviderGivesNone(detail=f"{linked.provider}: its token is for more than was asked for (scope)")

    async def _forget(self, linked: LinkedAccount) -> bool:
        """Forget a refresh token that the provider does not take; False where it is not the one that is kept now."""
        async with self._store.write() as tx:
            try:
                await tx.users.lock(linked.user_id)
                present = await tx.linked_accounts.lock(linked.id)
            except NotFound:
                return True
            if present.sealed_refresh_token != linked.sealed_refresh_token:
                return present.sealed_refresh_token is None
            await tx.linked_accounts.save(replace(present, sealed_refresh_token=None, api_scope=""))
        return True

    def _open(self, linked: LinkedAccount) -> str:
        try:
            return unseal(self._keys.seal, linked.sealed_refresh_token or b"", associated=_place(linked)).decode()
        except CannotUnseal as error:
            raise ApiNotConnected(detail=f"what is kept is {error}") from None


def _sealed(keys: DataKeys, linked: LinkedAccount, refresh_token: str) -> bytes:
    return seal(keys.seal, refresh_token.encode(), associated=_place(linked))


def _place(linked: LinkedAccount) -> str:
    return f"linked-account:{linked.id}"
