"""Changing who belongs to a lab: what every way of doing it has in common, from one form to a file of thousands."""

from datetime import datetime
from typing import Any

from idp.domain.audit import AuditAction
from idp.domain.lab import Lab, LabRole, Membership
from idp.domain.user import User
from idp.services.accounts import find_user
from idp.services.audit import audit_event
from idp.services.lab_permissions import Actor, Forbidden, managed_lab
from idp.store.errors import NotFound
from idp.store.store import Transaction

# Whether an account exists is no lab admin's business.
NO_MEMBER = "there is no such member; invite them by address"
NO_ADMIN = "The lab would have no admin. Make somebody else one first."


async def locked_lab(
    tx: Transaction, actor: Actor, slug: str, *, now: datetime, granting: LabRole | None = None
) -> Lab:
    """Return a lab that the actor looks after now, and hold it against whoever else changes its members.

    Raises:
        NotFound, Forbidden: see `managed_lab`; the second also where the actor's role was taken a moment ago.
    """
    found = await managed_lab(tx, actor, slug, granting=granting)
    lab = await tx.labs.lock(found.id)
    if not actor.manages_all:
        grant = await tx.lab_grants.find(actor.id, lab.id)
        held = await tx.memberships.find(lab.id, actor.id) if grant is None else grant.membership
        if held is None or held.role is not LabRole.ADMIN or not held.valid(now=now):
            raise Forbidden("Only an admin of the lab may do this.")
    return lab


async def newcomer(tx: Transaction, actor: Actor, identifier: str) -> User:
    """Return who is to become a member, and is none yet: a lab's admin knows them by their id.

    Raises:
        NotFound: there is no such account, or none that the actor may know of.
    """
    if actor.manages_all:
        # An id first: somebody's user name might be another's.
        user = await tx.users.find(identifier) or await find_user(tx, identifier)
        if user is None:
            raise NotFound(f"there is no account {identifier}")
    else:
        user = await tx.users.find(identifier)
        if user is None:
            raise NotFound(NO_MEMBER)
    return user


async def check_keeps_admin(tx: Transaction, before: Membership, after: Membership | None, *, now: datetime) -> None:
    """Check that somebody looks after the lab once a membership is changed, or ended where `after` is None.

    Raises:
        Forbidden: the lab's last admin would be none any more, or not for as long.
    """
    if gives_up(before, after, now=now):
        admins = await tx.members.admins(before.lab_id, now=now, limit=2)
        if not any(admin.user.id != before.user_id for admin in admins):
            raise Forbidden(NO_ADMIN)


def gives_up(before: Membership, after: Membership | None, *, now: datetime) -> bool:
    """Whether an admin becomes none, or one who ends sooner."""
    if not looks_after(before, now=now):
        return False
    if after is None or not looks_after(after, now=now):
        return True
    return after.expires_at is not None and (before.expires_at is None or after.expires_at < before.expires_at)


def looks_after(membership: Membership, *, now: datetime) -> bool:
    """Whether a membership makes its user an admin of the lab now."""
    return membership.role is LabRole.ADMIN and membership.valid(now=now)


async def write_membership(
    tx: Transaction, before: Membership | None, after: Membership, *, actor: str, now: datetime
) -> None:
    """Add or change a membership, and record what it was and what it is; what its user asked for is answered."""
    if before is None:
        await tx.memberships.add(after)
    else:
        await tx.memberships.save(after)
    await tx.join_requests.delete(after.lab_id, after.user_id)
    action = AuditAction.MEMBERSHIP_CREATED if before is None else AuditAction.MEMBERSHIP_UPDATED
    was: dict[str, Any] = {} if before is None else {"before": _described(before)}
    event = audit_event(
        action, actor=actor, target=after.user_id, now=now, lab=after.lab_id, **_described(after), **was
    )
    await tx.audit_events.add(event)


async def end_membership(
    tx: Transaction,
    membership: Membership,
    *,
    actor: str,
    now: datetime,
    action: AuditAction = AuditAction.MEMBERSHIP_DELETED,
) -> None:
    """Delete a membership, and record what it was."""
    await tx.memberships.delete(membership.lab_id, membership.user_id)
    event = audit_event(
        action, actor=actor, target=membership.user_id, now=now, lab=membership.lab_id, **_described(membership)
    )
    await tx.audit_events.add(event)


def _described(membership: Membership) -> dict[str, Any]:
    dates = {"not_before": membership.not_before, "expires_at": membership.expires_at}
    return {"role": str(membership.role)} | {
        name: moment.isoformat() for name, moment in dates.items() if moment is not None
    }
