"""The applications that somebody uses: what each may have, since when, and taking it away again."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from idp.domain.audit import AuditAction
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.consent import DECLINED, LATER, LabConsent, role_given, unasked
from idp.domain.lab import LabMembership, LabRole, LabStatus
from idp.services.audit import audit_event
from idp.store.errors import NotFound
from idp.store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An application that may learn something about a user.

    `tokens` are what the user agreed to, as on the consent page, and what the application's live grants hold. `labs` is
    what they said about labs, None where they were not asked.
    """

    client: Client
    tokens: tuple[str, ...]
    since: datetime
    labs: LabConsent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLabs:
    """What an application may learn of a user's labs: each with the role that is told, None where it is kept back.

    `later_labs` is whether labs that the user joins later are told.
    """

    client: Client
    labs: tuple[tuple[LabMembership, LabRole | None], ...]
    later_labs: bool


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
        labs = {consent.client_id: consent.labs for consent in consents}
        for consent in consents:
            scopes, since = held.get(consent.client_id, ((), consent.created_at))
            tokens = tuple(dict.fromkeys((*consent.scopes, *scopes)))
            held[consent.client_id] = (tokens, min(since, consent.created_at))
        clients = await asyncio.gather(*map(self._store.find_client, held))
        found = [
            Application(client=client, tokens=tokens, since=since, labs=labs.get(client.client_id))
            for client, (tokens, since) in zip(clients, held.values(), strict=True)
            # One that was deleted a moment ago took all of this with it.
            if client is not None
        ]
        return sorted(found, key=lambda application: application.client.client_name.casefold())

    async def last_used(self, user_id: str) -> Mapping[str, datetime]:
        """Return by client_id when each was last given anything for the user, as far as that is still known."""
        async with self._store.read() as tx:
            return await tx.grants.last_used(user_id)

    async def labs(self, user_id: str, client_id: str) -> SharedLabs | None:
        """Return what an application may learn of the labs that a user is in now; None where they were not asked."""
        async with self._store.read() as tx:
            client = await tx.clients.find(client_id)
            consent = await tx.consents.find(user_id, client_id)
            held = await tx.memberships.of_user(user_id)
        if client is None or consent is None or consent.labs is None:
            return None
        shared = [(each, _told(consent.labs, each)) for each in self._seen(client, held)]
        return SharedLabs(client=client, labs=tuple(shared), later_labs=LATER in consent.labs)

    async def share_labs(self, user_id: str, client_id: str, slugs: Collection[str], *, later_labs: bool) -> None:
        """Let an application learn of these of a user's labs, and of no others.

        What is kept back is told no more at once; what is added is told from the next sign-in on.
        Nothing happens where the user was not asked before.
        """
        async with self._store.write() as tx:
            try:
                await tx.users.lock(user_id)
            except NotFound:
                return
            client, consent = await tx.clients.find(client_id), await tx.consents.find(user_id, client_id)
            if client is None or consent is None or consent.labs is None:
                return
            now = self._clock()
            labs = dict(consent.labs)
            labs.pop(LATER, None)
            for each in self._seen(client, await tx.memberships.of_user(user_id)):
                # What was ticked before keeps its cap: the page showed that role.
                told = (_told(consent.labs, each) or each.membership.role).value
                labs[each.lab.slug] = told if each.lab.slug in slugs else DECLINED
            labs |= {LATER: LabRole.ADMIN.value} if later_labs else {}
            await tx.consents.save(replace(consent, labs=labs, updated_at=now))
            await tx.grants.narrow_labs(user_id, client_id, unasked(labs) if client.trusted else labs)
            event = audit_event(AuditAction.CONSENT_CHANGED, actor=user_id, target=client_id, now=now, labs=labs)
            await tx.audit_events.add(event)

    def _seen(self, client: Client, held: Iterable[LabMembership]) -> list[LabMembership]:
        now = self._clock()
        return [
            each
            for each in held
            if each.membership.valid(now=now) and each.lab.status is LabStatus.ACTIVE and client.may_see(each.lab.slug)
        ]

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


def _told(labs: LabConsent, held: LabMembership) -> LabRole | None:
    given = role_given(labs, held.lab.slug)
    return None if given is None else held.membership.role.capped(given)
