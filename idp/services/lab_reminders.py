"""Reminders of memberships that end soon: a mail to the member and to each admin of the lab, once for each end."""

from datetime import datetime, timedelta

from idp.domain.clock import Clock
from idp.domain.lab import LabMembership
from idp.domain.mail import MailPurpose
from idp.domain.user import User
from idp.services.mail import Outbox
from idp.store.store import Store, Transaction

ENDS_SOON = timedelta(days=14)
# Mails are rendered within the transaction, which on SQLite holds the only writer.
BATCH = 20


class LabReminders:
    """Puts reminders into the outbox; on several nodes each is put by one of them."""

    def __init__(self, store: Store, outbox: Outbox, clock: Clock, *, issuer: str) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._issuer = issuer

    async def run(self) -> int:
        """Remind of every membership that ends soon and return of how many; one turn of the job."""
        total = 0
        while True:
            async with self._store.write() as tx:
                now = self._clock()
                ending = await tx.memberships.claim_ending(now=now, until=now + ENDS_SOON, limit=BATCH)
                for held, member in ending:
                    await self._remind(tx, held, member, now=now)
            total += len(ending)
            if len(ending) < BATCH:
                break
        if total:
            self._outbox.wake()
        return total

    async def _remind(self, tx: Transaction, held: LabMembership, member: User, *, now: datetime) -> None:
        lab, membership = held.lab, held.membership
        told = {"lab_name": lab.name, "ends_at": membership.expires_at}
        if member.email is not None:
            context = {**told, "role": str(membership.role), "url": f"{self._issuer}/account/labs"}
            await self._outbox.put(tx, to=member.email, purpose=MailPurpose.MEMBERSHIP_ENDS, context=context, now=now)
        context = {**told, "member": member.name or member.label, "url": f"{self._issuer}/labs/{lab.slug}"}
        for admin in await tx.memberships.admins_to_mail(lab.id, now=now):
            if admin != member.email:
                await self._outbox.put(tx, to=admin, purpose=MailPurpose.LAB_MEMBERSHIP_ENDS, context=context, now=now)
