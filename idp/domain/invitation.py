"""Invitations into a lab: mailed to one address, or handed on as a link; accepted once, after signing in."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from idp.domain.lab import LabRole, Membership


class InvitationStatus(StrEnum):
    """What became of an invitation."""

    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """One invitation; `hash` is that of the token in its link.

    With an `email` only whoever has verified that address can accept it; without one whoever holds the link can, until
    somebody made their account by it, to whom it is `bound_to` from then on.
    `ends_at` is when the membership will end, `expires_at` until when the invitation can be accepted.
    """

    id: str
    hash: str
    lab_id: str
    role: LabRole
    invited_by: str
    created_at: datetime
    expires_at: datetime
    email: str | None = None
    ends_at: datetime | None = None
    bound_to: str | None = None
    answered_by: str | None = None
    accepted_at: datetime | None = None
    declined_at: datetime | None = None
    revoked_at: datetime | None = None

    def status(self, *, now: datetime) -> InvitationStatus:
        """Return what became of it by `now`."""
        if self.accepted_at is not None:
            return InvitationStatus.ACCEPTED
        if self.declined_at is not None:
            return InvitationStatus.DECLINED
        if self.revoked_at is not None:
            return InvitationStatus.REVOKED
        return InvitationStatus.OPEN if now < self.expires_at else InvitationStatus.EXPIRED


def joined(present: Membership | None, offered: Membership, *, now: datetime) -> Membership:
    """Return the membership of somebody who takes an offer: never a lower or shorter one than they have.

    It is never more than was offered either, so a higher role that would end sooner changes nothing.
    """
    if present is None:
        return offered
    ended = present.expires_at is not None and present.expires_at <= now
    lasts = offered.expires_at is None or (present.expires_at is not None and offered.expires_at >= present.expires_at)
    if not ended and not (lasts and offered.role.contains(present.role)):
        return present
    return replace(
        present,
        role=offered.role,
        not_before=offered.not_before,
        expires_at=offered.expires_at,
        granted_by=offered.granted_by,
    )
