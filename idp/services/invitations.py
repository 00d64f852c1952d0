"""Invitations into labs: mailed to one address or handed on as a link, answered once by whoever is signed in."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import field_validator

from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.invitation import Invitation, InvitationStatus, joined
from idp.domain.lab import Lab, LabRole, Membership
from idp.domain.mail import MailPurpose
from idp.domain.user import User
from idp.services.audit import audit_event
from idp.services.input import Email, Ends, Input, InputRefused, Place
from idp.services.invitation_room import invitation_room
from idp.services.lab_members import end_of, locked_lab, revoke_invitation, write_membership
from idp.services.lab_permissions import Actor, Forbidden, check_open, managed_lab
from idp.services.mail import Outbox
from idp.services.opened_invitation import (
    OpenInvitation,
    inviter_name,
    judge_invitation,
    lock_invitation,
    open_invitation,
)
from idp.services.paging import Page, checked_limit, moment_in, page_of, read_cursor
from idp.store.errors import Conflict, NotFound
from idp.store.store import Store, Transaction

USUAL_LIFETIME = timedelta(days=14)
LONGEST_LIFETIME = timedelta(days=90)


class InvitationInput(Input):
    """An invitation as it is written down: without an address it is a link for whoever gets it.

    `expires_at` is until when it can be accepted, `ends_at` when the membership will end.
    """

    lab: str
    email: Email | None = None
    role: LabRole = LabRole.MEMBER
    expires_at: Ends | None = None
    ends_at: Ends | None = None

    @field_validator("role")
    @classmethod
    def _check_role(cls, role: LabRole, info: Any) -> LabRole:
        if "email" in info.data and info.data["email"] is None and not LabRole.MEMBER.contains(role):
            raise ValueError("a link gives at most the role member; invite an admin by address")
        return role

    def invitation(self, lab: Lab, *, token: str, invited_by: str, now: datetime) -> Invitation:
        """Return the invitation; it cannot be accepted when the membership would have ended.

        Raises:
            InputRefused: it would be over already, or could be accepted for too long.
        """
        expires_at = self.expires_at or now + USUAL_LIFETIME
        faults: dict[Place, str] = {
            (name,): "it is in the past"
            for name, moment in (("expires_at", expires_at), ("ends_at", self.ends_at))
            if moment is not None and moment <= now
        }
        if expires_at.date() > (now + LONGEST_LIFETIME).date():
            faults["expires_at",] = f"it must be within {LONGEST_LIFETIME.days} days"
        if faults:
            raise InputRefused(faults)
        return Invitation(
            id=mint_id("inv"),
            hash=hash_token(token),
            lab_id=lab.id,
            role=self.role,
            invited_by=invited_by,
            created_at=now,
            expires_at=expires_at if self.ends_at is None else min(expires_at, self.ends_at),
            email=self.email,
            ends_at=self.ends_at,
        )


class Invitations:
    """Lets a lab's admins invite, and those who were invited answer."""

    def __init__(self, store: Store, outbox: Outbox, clock: Clock, *, issuer: str) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._issuer = issuer

    # ── For a lab's admins ──────────────────────────────────────────────────────────────────────────────────────────
    async def invite(self, actor: Actor, given: InvitationInput) -> tuple[Invitation, str]:
        """Invite somebody; return the invitation and its link, which is told nowhere else than here and in the mail.

        Raises:
            NotFound: there is no such lab for the actor.
            Forbidden: they may not invite, the lab is archived, or it has no room for more (see `InvitationRoom`).
            InputRefused: a date is wrong, or the person belongs to the lab already.
        """
        token = mint_token()
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, given.lab, now=now, granting=given.role)
            invitation = await self._add(tx, actor, lab, given, token, now=now)
        self._outbox.wake()
        return invitation, self._url(token)

    async def add(
        self, tx: Transaction, actor: Actor, lab: Lab, given: InvitationInput, *, now: datetime
    ) -> Invitation:
        """Do the same in the caller's transaction, for a lab that is locked and that the actor looks after."""
        return await self._add(tx, actor, lab, given, mint_token(), now=now)

    async def of_lab(self, actor: Actor, slug: str, *, after: str | None = None, limit: int = 50) -> Page[Invitation]:
        """Return the invitations into a lab: those that wait, then what became of the others; the newest first.

        Raises:
            NotFound, Forbidden: the actor does not look after such a lab.
            InputRefused: cursor or limit is none.
        """
        limit, now, behind = checked_limit(limit), self._clock(), None
        if after is not None:
            waits, at, id = read_cursor(after, int, str, str)
            behind = bool(waits), moment_in(at), str(id)
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            found = await tx.invitations.page(lab.id, now=now, after=behind, limit=limit + 1)
        return page_of(
            found,
            limit=limit,
            position=lambda each: (
                int(each.status(now=now) is InvitationStatus.OPEN),
                each.created_at.isoformat(),
                each.id,
            ),
        )

    async def revoke(self, actor: Actor, slug: str, invitation_id: str) -> None:
        """Take an invitation back; nothing happens to one that nobody can accept any more.

        Raises:
            NotFound: there is no such lab for the actor, or no such invitation into it.
            Forbidden: they do not look after the lab.
            Conflict: it was accepted or declined.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now)
            invitation = await tx.invitations.lock(invitation_id)
            if invitation.lab_id != lab.id:
                raise NotFound(f"{slug} has no invitation {invitation_id}")
            status = invitation.status(now=now)
            if status in {InvitationStatus.ACCEPTED, InvitationStatus.DECLINED}:
                raise Conflict(f"the invitation was {status}")
            if status is InvitationStatus.OPEN:
                await revoke_invitation(tx, invitation, actor=actor.id, now=now)

    async def _add(
        self, tx: Transaction, actor: Actor, lab: Lab, given: InvitationInput, token: str, *, now: datetime
    ) -> Invitation:
        check_open(lab)
        invitation = given.invitation(lab, token=token, invited_by=actor.id, now=now)
        if given.email is not None:
            await _check_no_member(tx, lab, given.email, now=now)
            for older in await tx.invitations.open_for(given.email, lab_id=lab.id, now=now):
                # Whoever is invited anew has the newer mail before them.
                await revoke_invitation(tx, older, actor=actor.id, now=now)
        if not actor.manages_all:
            emails = [] if given.email is None else [given.email]
            full = (await invitation_room(tx, lab.id, emails, now=now)).take(given.email)
            if full is not None:
                raise Forbidden(full)
        await tx.invitations.add(invitation)
        event = audit_event(
            AuditAction.INVITATION_CREATED,
            actor=actor.id,
            target=invitation.id,
            now=now,
            lab=lab.id,
            role=str(invitation.role),
            by="link" if given.email is None else "mail",
        )
        await tx.audit_events.add(event)
        if given.email is not None:
            context = {
                "lab_name": lab.name,
                "inviter": await inviter_name(tx, actor.id),
                "role": str(invitation.role),
                "url": self._url(token),
                "expires_at": invitation.expires_at,
                "ends_at": invitation.ends_at,
            }
            await self._outbox.put(tx, to=given.email, purpose=MailPurpose.INVITATION, context=context, now=now)
        return invitation

    def _url(self, token: str) -> str:
        return f"{self._issuer}/invitations/{token}"

    # ── For those who are invited ───────────────────────────────────────────────────────────────────────────────────
    async def open(self, handle: str, user: User) -> OpenInvitation:
        """Return the invitation that a link's token means, or an id where it waits for this user's address.

        Nothing comes of opening it: programs that look at mail open links too.

        Raises:
            InvitationRefused: it is unknown.
        """
        async with self._store.read() as tx:
            return await open_invitation(tx, handle, user, now=self._clock())

    async def waiting_for(self, user: User) -> tuple[OpenInvitation, ...]:
        """Return what the user could accept now because it was sent to their verified address, the newest first."""
        if user.email is None or not user.email_verified:
            return ()
        async with self._store.read() as tx:
            now = self._clock()
            found = await tx.invitations.open_for(user.email, now=now)
            waiting = [await judge_invitation(tx, each, user, now=now) for each in found]
        return tuple(each for each in waiting if each.fault is None)

    async def accept(self, handle: str, user: User) -> Membership:
        """Take the user into the lab; of several who accept at the same time one succeeds.

        Raises:
            InvitationRefused: it cannot be accepted by this user now.
        """
        async with self._store.write() as tx:
            now = self._clock()
            opened = await lock_invitation(tx, handle, user, now=now)
            invitation = opened.invitation
            await tx.invitations.save(replace(invitation, accepted_at=now, answered_by=user.id))
            await tx.audit_events.add(_answered(AuditAction.INVITATION_ACCEPTED, invitation, user.id, now=now))
            offered = Membership(
                lab_id=invitation.lab_id,
                user_id=user.id,
                role=invitation.role,
                created_at=now,
                expires_at=invitation.ends_at,
                granted_by=invitation.invited_by,
            )
            return await take_in(tx, offered, actor=user.id, now=now)

    async def decline(self, handle: str, user: User) -> None:
        """Answer that the user does not want to join; the invitation is used up.

        Raises:
            InvitationRefused: it is not this user's to answer now.
        """
        async with self._store.write() as tx:
            now = self._clock()
            invitation = (await lock_invitation(tx, handle, user, now=now)).invitation
            await tx.invitations.save(replace(invitation, declined_at=now, answered_by=user.id))
            await tx.audit_events.add(_answered(AuditAction.INVITATION_DECLINED, invitation, user.id, now=now))


async def take_in(tx: Transaction, offered: Membership, *, actor: str, now: datetime) -> Membership:
    """Give somebody a membership that they were offered, or what becomes of theirs, and forget that they asked for it.

    The caller holds the lab's lock.
    """
    present = await tx.memberships.find(offered.lab_id, offered.user_id)
    membership = joined(present, offered, now=now)
    await tx.join_requests.delete(offered.lab_id, offered.user_id)
    if membership != present:
        await write_membership(tx, present, membership, actor=actor, now=now)
    return membership


async def _check_no_member(tx: Transaction, lab: Lab, email: str, *, now: datetime) -> None:
    member = await tx.members.find(lab.id, email)
    if member is not None and now < end_of(member.membership):
        raise InputRefused({("email",): "this person belongs to the lab already"})


def _answered(action: AuditAction, invitation: Invitation, actor: str, *, now: datetime) -> Any:
    return audit_event(
        action, actor=actor, target=invitation.id, now=now, lab=invitation.lab_id, role=str(invitation.role)
    )
