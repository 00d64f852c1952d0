"""The applications that somebody uses: what each may have, since when, and taking it away again."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from idp.domain.audit import AuditAction
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.services.audit import audit_event
from idp.store.errors import NotFound
from idp.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application that may learn something about a user.

    `tokens` are what the user agreed to, as on the consent page, and what the application's live grants hold.
    """

    client: Client
    tokens: tuple[str, ...]
    since: datetime


class Applications:
    """Finds a user's applications, and withdraws what one of them was given."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of(self, user_id: str) -> Sequence[Application]:
        """Return all that the user agreed to, and those that need not ask but have a live grant, by name."""
        async with self._store.read() as tx:
            consents = await tx.consents.of_user(user_id)
            given = await tx.grants.given_by(user_id, now=self._clock())
        held = {item.client_id: (item.scopes, item.since) for item in given}
        for consent in consents:
            scopes, since = held.get(consent.client_id, ((), consent.created_at))
            tokens = tuple(dict.fromkeys((*consent.scopes, *scopes)))
            held[consent.client_id] = (tokens, min(since, consent.created_at))
        clients = await asyncio.gather(*map(self._store.find_client, held))
        found = [
            Application(client=client, tokens=tokens, since=since)
            for client, (tokens, since) in zip(clients, held.values(), strict=True)
            # One that was deleted a moment ago took all of this with it.
            if client is not None
        ]
        return sorted(found, key=lambda application: application.client.client_name.casefold())

    async def last_used(self, user_id: str) -> Mapping[str, datetime]:
        """Return by client_id when each was last given anything for the user, as far as that is still known."""
        async with self._store.read() as tx:
            return await tx.grants.last_used(user_id)

    async def withdraw(self, user_id: str, client_id: str) -> None:
        """Forget what the user agreed to, and revoke all that the application was given, offline or not.

        Nothing happens when there is nothing of the kind.
        """
        async with self._store.write() as tx:
            # As consent is given: one decision of a user at a time.
            try:
                await tx.users.lock(user_id)
            except NotFound:
                return
            now = self._clock()
            consented = await tx.consents.delete(user_id, client_id)
            revoked = await tx.grants.revoke_client(user_id, client_id, now=now)
            if consented or revoked:
                event = audit_event(
                    AuditAction.CONSENT_WITHDRAWN, actor=user_id, target=client_id, now=now, grants=revoked
                )
                await tx.audit_events.add(event)
        # Once more: an answer that is being given at this moment is either seen here, or sees that the consent is gone.
        async with self._store.write() as tx:
            await tx.users.lock(user_id)
            if await tx.consents.find(user_id, client_id) is None:
                await tx.grants.revoke_client(user_id, client_id, now=now)
