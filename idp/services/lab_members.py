"""Changing who belongs to a lab: what every way of doing it has in common, from one form to a file of thousands."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from idp.domain.audit import AuditAction
from idp.domain.invitation import Invitation
from idp.domain.lab import Lab, LabRole, Membership
from idp.domain.lab_rule import given_by_rule
from idp.domain.user import User
from idp.services.accounts import find_user
from idp.services.audit import audit_event
from idp.services.lab_permissions import Actor, Forbidden, managed_lab
from idp.store.errors import NotFound
from idp.store.store import Transaction

# Whether an account exists is no lab admin's business.
NO_MEMBER = "there is no such member; invite them by address"
NO_ADMIN = "The lab would have no admin. Make somebody else one first, for at least as long."
_NEVER = datetime.max.replace(tzinfo=UTC)


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


async def newcomer(tx: Transaction, actor: Actor, identifier: str, *, now: datetime) -> User:
    """Return who is to become a member, and is none yet: a lab's admin knows them, by their id, from another lab.

    Raises:
        NotFound: there is no such account, or none that the actor may know of.
    """
    if actor.manages_all:
        # An id first: somebody's user name might be another's.
        user = await tx.users.find(identifier) or await find_user(tx, identifier)
        if user is None:
            raise NotFound(f"there is no account {identifier}")
    else:
        held = [*await tx.memberships.of_user(actor.id), *await tx.lab_grants.of_client(actor.id)]
        others = [each.lab.id for each in held if looks_after(each.membership, now=now) and actor.manages(each.lab)]
        # One statement, which tells nobody whether the account does not exist or is not theirs to know.
        user = await tx.members.of_labs(identifier, others, now=now)
        if user is None:
            raise NotFound(NO_MEMBER)
    return user


async def check_keeps_admin(tx: Transaction, before: Membership, after: Membership | None, *, now: datetime) -> None:
    """Check that somebody looks after the lab once a membership is changed, or ended where `after` is None.

    Raises:
        Forbidden: the lab's last admin would be none any more, or not for as long.
    """
    if gives_up(before, after, now=now) and not await tx.members.have_another_admin(before, now=now):
        raise Forbidden(NO_ADMIN)


def gives_up(before: Membership, after: Membership | None, *, now: datetime) -> bool:
    """Whether an admin becomes none, or one who ends sooner."""
    stays = after is not None and looks_after(after, now=now) and end_of(after) >= end_of(before)
    return looks_after(before, now=now) and not stays


def end_of(membership: Membership) -> datetime:
    """Return when a membership ends, to be compared: one without an end outlasts all others."""
    return membership.expires_at or _NEVER


def looks_after(membership: Membership, *, now: datetime) -> bool:
    """Whether a membership makes its user an admin of the lab now."""
    return membership.role is LabRole.ADMIN and membership.valid(now=now)


async def write_membership(
    tx: Transaction, before: Membership | None, after: Membership, *, actor: str, now: datetime
) -> None:
    """Add or change a membership, and record what it was and what it is.

    What its user asked for is answered, and what they were offered by mail is taken back.
    """
    if before is None:
        await tx.memberships.add(after)
    else:
        # Reminders do not wait for the lab: what was told meanwhile stays told.
        present = await tx.memberships.lock(after.lab_id, after.user_id)
        await tx.memberships.save(replace(after, reminded_of=present.reminded_of))
    await tx.join_requests.delete(after.lab_id, after.user_id)
    await close_invitations(tx, after, actor=actor, now=now)
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
    """Delete a membership, and record what it was; no mail from before lets its user in again."""
    await tx.memberships.delete(membership.lab_id, membership.user_id)
    await close_invitations(tx, membership, actor=actor, now=now)
    event = audit_event(
        action, actor=actor, target=membership.user_id, now=now, lab=membership.lab_id, **_described(membership)
    )
    await tx.audit_events.add(event)


async def revoke_invitation(tx: Transaction, invitation: Invitation, *, actor: str, now: datetime) -> None:
    """Take an invitation back that waits, and record it."""
    await tx.invitations.save(replace(invitation, revoked_at=now))
    event = audit_event(
        AuditAction.INVITATION_REVOKED,
        actor=actor,
        target=invitation.id,
        now=now,
        lab=invitation.lab_id,
        role=str(invitation.role),
    )
    await tx.audit_events.add(event)


async def close_invitations(tx: Transaction, membership: Membership, *, actor: str, now: datetime) -> None:
    """Take back what waits for a member's address in their lab."""
    for invitation in await tx.invitations.open_for_user(membership.user_id, lab_id=membership.lab_id, now=now):
        await revoke_invitation(tx, invitation, actor=actor, now=now)


def _described(membership: Membership) -> dict[str, Any]:
    dates = {"not_before": membership.not_before, "expires_at": membership.expires_at}
    told = {"role": str(membership.role)}
    if given_by_rule(membership.granted_by):
        told["rule"] = str(membership.granted_by)
    return told | {name: moment.isoformat() for name, moment in dates.items() if moment is not None}
