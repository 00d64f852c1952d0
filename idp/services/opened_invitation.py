"""An invitation as somebody sees it who opened it: whether it is theirs to answer, and what is in the way."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from idp.crypto.opaque import hash_token
from idp.domain.acr import ACR_LADDER
from idp.domain.invitation import Invitation, InvitationStatus
from idp.domain.lab import Lab, LabRole, LabStatus
from idp.domain.user import User
from idp.services.lab_permissions import OPERATOR, Actor, acting_service, acting_user
from idp.store.errors import NotFound
from idp.store.store import Transaction

_ID = re.compile(r"inv_[0-9a-f]{24}")


class InvitationFault(StrEnum):
    """Why an invitation cannot be answered."""

    UNKNOWN = "unknown"
    USED = "used"
    DECLINED = "declined"
    REVOKED = "revoked"
    EXPIRED = "expired"
    WRONG_ACCOUNT = "wrong_account"
    NOT_VERIFIED = "not_verified"
    INVITER_GONE = "inviter_gone"
    ARCHIVED = "archived"


_CLOSED = {
    InvitationStatus.ACCEPTED: InvitationFault.USED,
    InvitationStatus.DECLINED: InvitationFault.DECLINED,
    InvitationStatus.REVOKED: InvitationFault.REVOKED,
    InvitationStatus.EXPIRED: InvitationFault.EXPIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInvitation:
    """An invitation as somebody sees it who opened it; `fault` is why this person cannot answer it."""

    invitation: Invitation
    lab: Lab
    inviter: str
    fault: InvitationFault | None

    @property
    def masked_email(self) -> str | None:
        """To whom it was sent, as far as somebody else may know that: `a…@example.org`."""
        if self.invitation.email is None:
            return None
        name, _, host = self.invitation.email.rpartition("@")
        return f"{name[:1]}…@{host}"


class InvitationRefused(Exception):
    """An invitation cannot be answered by this person now; without `opened` they are not even to know of it."""

    def __init__(self, fault: InvitationFault, opened: OpenInvitation | None = None) -> None:
        super().__init__(fault)
        self.fault = fault
        self.opened = opened


async def open_invitation(tx: Transaction, handle: str, user: User, *, now: datetime) -> OpenInvitation:
    """Return the invitation that a link's token means, or an id where it waits for this user's address.

    Raises:
        InvitationRefused: it is unknown.
    """
    invitation = await _find(tx, handle, user)
    if invitation is None:
        raise InvitationRefused(InvitationFault.UNKNOWN)
    return await judge_invitation(tx, invitation, user, now=now)


async def lock_invitation(tx: Transaction, handle: str, user: User, *, now: datetime) -> OpenInvitation:
    """Return the same for an answer, and hold it and its lab.

    Raises:
        InvitationRefused: this user cannot answer it now.
    """
    try:
        # As it is now: the address may have changed since the page was opened.
        user = await tx.users.get(user.id)
        found = await _find(tx, handle, user)
        if found is None or not user.active:
            raise InvitationRefused(InvitationFault.UNKNOWN)
        # The lab first, as wherever its people change.
        await tx.labs.lock(found.lab_id)
        invitation = await tx.invitations.lock(found.id)
    except NotFound:
        raise InvitationRefused(InvitationFault.UNKNOWN) from None
    opened = await judge_invitation(tx, invitation, user, now=now)
    if opened.fault is not None:
        raise InvitationRefused(opened.fault, opened)
    return opened


async def judge_invitation(tx: Transaction, invitation: Invitation, user: User, *, now: datetime) -> OpenInvitation:
    """Return an invitation as this user sees it; whether its inviter may still invite is looked up anew."""
    lab = await tx.labs.get(invitation.lab_id)
    inviter = await _inviter(tx, invitation.invited_by, now=now)
    held = None if inviter is None else inviter.role_in(lab)
    fault = _CLOSED.get(invitation.status(now=now))
    if fault is None and invitation.bound_to not in (None, user.id):
        # Somebody made their account by this link.
        fault = InvitationFault.USED
    if fault is None and lab.status is not LabStatus.ACTIVE:
        fault = InvitationFault.ARCHIVED
    if fault is None and (held is not LabRole.ADMIN or not held.contains(invitation.role)):
        fault = InvitationFault.INVITER_GONE
    return OpenInvitation(
        invitation=invitation,
        lab=lab,
        inviter=await inviter_name(tx, invitation.invited_by),
        fault=fault or _account_fault(invitation, user),
    )


async def inviter_name(tx: Transaction, identifier: str) -> str:
    """Return what whoever invited is called."""
    user = await tx.users.find(identifier)
    if user is not None:
        return user.name or user.label
    client = await tx.clients.find(identifier)
    return "An administrator" if client is None else client.client_name


async def _find(tx: Transaction, handle: str, user: User) -> Invitation | None:
    if _ID.fullmatch(handle) is None:
        return await tx.invitations.find_by_hash(hash_token(handle))
    # An id is no secret: it serves whoever the invitation was sent to, and to others does not even exist.
    invitation = await tx.invitations.find(handle)
    return invitation if invitation is not None and _account_fault(invitation, user, by_id=True) is None else None


def _account_fault(invitation: Invitation, user: User, *, by_id: bool = False) -> InvitationFault | None:
    if invitation.email is None:
        return InvitationFault.WRONG_ACCOUNT if by_id else None
    if user.email != invitation.email:
        return InvitationFault.WRONG_ACCOUNT
    return None if user.email_verified else InvitationFault.NOT_VERIFIED


async def _inviter(tx: Transaction, identifier: str, *, now: datetime) -> Actor | None:
    """Return what whoever invited may do by now; how surely they had signed in was judged then."""
    if identifier == OPERATOR.id:
        return OPERATOR
    user = await tx.users.find(identifier)
    if user is not None:
        return await acting_user(tx, user, acr=ACR_LADDER[-1], now=now) if user.active else None
    client = await tx.clients.find(identifier)
    return await acting_service(tx, client, now=now) if client is not None and client.active else None
