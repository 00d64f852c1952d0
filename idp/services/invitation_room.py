"""How many invitations a lab's admins may still send: so that they cannot mail half the world, or one person all day.

Whoever administers the installation can anyway, and is not limited.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from idp.store.store import Transaction

MOST_OPEN = 200
# Whatever became of them: a mail that was sent is not taken back.
MOST_MAILED = 200
MOST_MAILED_TO_ONE = 3
MAILED_WITHIN = timedelta(days=1)


@dataclass(slots=True)
class InvitationRoom:
    """What a lab has sent by `now`: how many wait, when the latest were mailed, and when to whom; the newest first."""

    now: datetime
    waiting: int
    mailed: list[datetime]
    mailed_to: dict[str, list[datetime]]

    def take(self, email: str | None, *, in_place_of_another: bool = False) -> str | None:
        """Make room for one more invitation, to an address or as a link; return why there is none, if so."""
        waiting = self.waiting + (not in_place_of_another)
        if waiting > MOST_OPEN:
            return f"The lab has {MOST_OPEN} open invitations. Wait for answers, or take some back."
        if email is not None:
            to_one = self.mailed_to.setdefault(email, [])
            for sent, most, whom in ((self.mailed, MOST_MAILED, ""), (to_one, MOST_MAILED_TO_ONE, " to this address")):
                if len(sent) >= most:
                    again = sent[most - 1] + MAILED_WITHIN
                    sentence = f"The lab has mailed {most} invitations{whom} within a day."
                    return f"{sentence} The next one can follow from {again:%Y-%m-%d %H:%M:%S} UTC on."
            for sent in (self.mailed, to_one):
                sent.insert(0, self.now)
        self.waiting = waiting
        return None


async def invitation_room(tx: Transaction, lab_id: str, emails: Sequence[str], *, now: datetime) -> InvitationRoom:
    """Return the room that a lab has, which the caller has locked, for invitations to these addresses."""
    since = now - MAILED_WITHIN
    mailed_to: dict[str, list[datetime]] = {}
    for email, at in await tx.invitations.mailed_to(emails, lab_id=lab_id, since=since):
        mailed_to.setdefault(email, []).append(at)
    return InvitationRoom(
        now=now,
        waiting=await tx.invitations.count_open(lab_id, now=now),
        mailed=list(await tx.invitations.mailed(lab_id, since=since, limit=MOST_MAILED)),
        mailed_to=mailed_to,
    )
