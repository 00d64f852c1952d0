"""Signing out at the provider by which a session began, once it has ended here (RP-Initiated Logout 1.0 §2)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from idp.crypto.envelope import CannotUnseal, unseal
from idp.domain.clock import Clock
from idp.domain.session import Session
from idp.domain.upstream import UpstreamSession
from idp.services.installation import DataKeys
from idp.services.providers import Providers
from idp.store.store import Store

DONE_PATH = "/logout/done"
# Nobody who signs out here waits for another server: as a rule its metadata are at hand.
TIME_LIMIT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class UpstreamOffer:
    """Where somebody may sign out as well; the address holds the provider's ID token, and is for their browser only."""

    provider: str
    url: str = field(repr=False)


class UpstreamLogout:
    """Knows where people whose sessions ended may still be signed in."""

    def __init__(self, store: Store, keys: DataKeys, providers: Providers, clock: Clock, *, issuer: str) -> None:
        self._store = store
        self._keys = keys
        self._providers = providers
        self._clock = clock
        self._return_to = f"{issuer}{DONE_PATH}"

    async def take(self, ended: Sequence[Session]) -> Sequence[UpstreamSession]:
        """Return by which providers sessions began, and forget it: what is kept of them is of no further use."""
        async with self._store.read() as tx:
            found = [held for session in ended if (held := await tx.upstream_sessions.find(session.id)) is not None]
        if found:
            async with self._store.write() as tx:
                for held in found:
                    await tx.upstream_sessions.delete(held.session_id)
        return found

    async def offers(self, held: Sequence[UpstreamSession]) -> Sequence[UpstreamOffer]:
        """Return where to sign out as well, once for each provider; none that does not offer it, or is down."""
        firsts = {each.provider: each for each in reversed(held)}
        found = await asyncio.gather(*map(self._offer, firsts.values()))
        return [offer for offer in found if offer is not None]

    async def _offer(self, held: UpstreamSession) -> UpstreamOffer | None:
        provider = await self._providers.find(held.provider)
        if provider is None or not provider.logout or self._providers.circuit.is_open(provider.name, self._clock()):
            return None
        try:
            place = f"upstream-session:{held.session_id}"
            id_token = unseal(self._keys.seal, held.sealed_id_token, associated=place).decode()
            async with asyncio.timeout(TIME_LIMIT.total_seconds()):
                # No state: nothing hangs on coming back, and the page there says the same to everybody.
                url = await self._providers.connector(provider).logout_url(
                    id_token, post_logout_redirect_uri=self._return_to, state=""
                )
        except (CannotUnseal, TimeoutError):
            return None
        return None if url is None else UpstreamOffer(provider.display_name, url)
