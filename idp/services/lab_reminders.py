"""Reminders of memberships that end soon: a mail to the member, and one of all of them to each admin of the lab."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import quote

from idp.domain.clock import Clock
from idp.domain.lab import Lab, LabMember
from idp.domain.mail import MailPurpose
from idp.services.mail import Outbox
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

ENDS_SOON = timedelta(days=14)
# Of one lab at once: mails are rendered within the transaction, which on SQLite holds the only writer.
BATCH = 100


class LabReminders:
    """Puts reminders into the outbox; on several nodes each is put by one of them."""

    def __init__(self, store: Store, outbox: Outbox, clock: Clock, *, issuer: str) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._issuer = issuer

    async def run(self) -> int:
        """Remind of every membership that ends soon and return of how many; one turn of the job."""
        now = self._clock()
        async with self._store.read() as tx:
            lab_ids = await tx.memberships.labs_with_ending(now=now, until=now + ENDS_SOON)
        total = 0
        for lab_id in lab_ids:
            while told := await self._remind(lab_id):
                total += told
                if told < BATCH:
                    break
        if total:
            self._outbox.wake()
        return total

    async def _remind(self, lab_id: str) -> int:
        """Remind of what ends in a lab, and return of how many memberships."""
        async with self._store.write() as tx:
            now = self._clock()
            try:
                lab = await tx.labs.lock(lab_id)
            except NotFound:
                # Deleted meanwhile.
                return 0
            ending = await tx.memberships.claim_ending(lab_id, now=now, until=now + ENDS_SOON, limit=BATCH)
            for member in ending:
                await self._tell_member(tx, lab, member, now=now)
            for admin in await tx.memberships.admins_to_mail(lab_id, now=now) if ending else ():
                # Of their own end admins are told as everybody is.
                others = [member for member in ending if member.user.email != admin]
                if others:
                    await self._tell_admin(tx, lab, admin, others, now=now)
        return len(ending)

    async def _tell_member(self, tx: Transaction, lab: Lab, member: LabMember, *, now: datetime) -> None:
        if member.user.email is None:
            return
        context = {
            "lab_name": lab.name,
            "ends_at": member.membership.expires_at,
            "role": str(member.membership.role),
            "url": f"{self._issuer}/account/labs",
        }
        await self._outbox.put(tx, to=member.user.email, purpose=MailPurpose.MEMBERSHIP_ENDS, context=context, now=now)

    async def _tell_admin(
        self, tx: Transaction, lab: Lab, admin: str, ending: Sequence[LabMember], *, now: datetime
    ) -> None:
        page = f"{self._issuer}/labs/{lab.slug}"
        context = {
            "lab_name": lab.name,
            "members": [{"member": _called(each), "ends_at": each.membership.expires_at} for each in ending],
            "url": page if len(ending) > 1 else f"{page}/members/{quote(ending[0].user.id, safe='')}",
        }
        await self._outbox.put(tx, to=admin, purpose=MailPurpose.LAB_MEMBERSHIP_ENDS, context=context, now=now)


def _called(member: LabMember) -> str:
    user = member.user
    return user.label if user.name is None else f"{user.name} ({user.label})"
