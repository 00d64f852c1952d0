"""Requests to join a lab: by whoever is signed in, where the lab lets itself be asked; decided by its admins."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.join_request import ASK_AGAIN_AFTER, ASK_AGAIN_AFTER_WITHDRAWAL, JoinRequest
from idp.domain.lab import Lab, LabRole, LabStatus, Membership
from idp.domain.mail import MailPurpose
from idp.domain.user import User
from idp.services.audit import audit_event
from idp.services.input import Ends, Input, InputRefused, Lines
from idp.services.invitations import take_in
from idp.services.lab_members import locked_lab
from idp.services.lab_permissions import Actor, Forbidden, check_open, managed_lab
from idp.services.mail import Outbox
from idp.services.paging import Page, checked_limit, moment_in, page_of, read_cursor
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

# One mail a day tells a lab's admins that somebody asks; who else does stands on the same page.
TOLD_EVERY = timedelta(days=1)
MOST_OPEN = 20
MOST_LISTED = 100


class JoinRequestInput(Input):
    """What somebody says who wants to join."""

    message: Lines | None = None


class DecisionInput(Input):
    """What becomes of a request: a role, perhaps for a time, or none."""

    role: LabRole | None
    ends_at: Ends | None = None


class JoinRequests:
    """Takes requests to join, and what a lab's admins decide."""

    def __init__(self, store: Store, outbox: Outbox, clock: Clock, *, issuer: str) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        self._issuer = issuer

    # ── For those who want to join ──────────────────────────────────────────────────────────────────────────────────
    async def find_open_lab(self, user: User, slug: str) -> Lab:
        """Return a lab that the user may ask to join, or to stay in where their membership ends.

        Raises:
            NotFound: there is none, or it cannot be asked; the two cannot be told apart.
        """
        async with self._store.read() as tx:
            return await _askable(tx, user, slug)

    async def joinable(self, user: User) -> tuple[Lab, ...]:
        """Return the labs that the user could ask to join now, by name, a hundred at most."""
        now = self._clock()
        async with self._store.read() as tx:
            found = await tx.join_requests.joinable(
                user.id,
                denied_after=now - ASK_AGAIN_AFTER,
                withdrawn_after=now - ASK_AGAIN_AFTER_WITHDRAWAL,
                limit=MOST_LISTED,
            )
        return tuple(found)

    async def ask(self, user: User, slug: str, message: str | None) -> None:
        """Ask to join, and tell the lab's admins by mail, once a day at most.

        Raises:
            NotFound: as for `find_open_lab`.
            Forbidden: the user has asked already, was denied or withdrew not long ago, or waits for too many labs.
            InputRefused: the message is too long, or holds what cannot be shown.
        """
        given = JoinRequestInput.read({"message": (message or "").strip() or None})
        async with self._store.write() as tx:
            lab = await tx.labs.lock((await _askable(tx, user, slug)).id)
            now = self._clock()
            present = await tx.join_requests.find(lab.id, user.id)
            await _check_may_ask(tx, user, present, now=now)
            asked = JoinRequest(lab_id=lab.id, user_id=user.id, created_at=now, message=given.message)
            # On the lab, where nothing that becomes of a request makes it forgotten.
            if lab.join_requests_told_at is None or lab.join_requests_told_at <= now - TOLD_EVERY:
                await tx.labs.save(replace(lab, join_requests_told_at=now))
                await self._tell_admins(tx, lab, user, given.message, now=now)
            if present is None:
                await tx.join_requests.add(asked)
            else:
                await tx.join_requests.save(asked)
            await self._record(tx, AuditAction.JOIN_REQUEST_CREATED, asked, user.id, now=now)
        self._outbox.wake()

    async def withdraw(self, user: User, slug: str) -> None:
        """Take a request back that waits.

        Raises:
            NotFound: there is none.
        """
        async with self._store.write() as tx:
            request, now = _open(await tx.join_requests.lock_of_user(user.id, slug)), self._clock()
            await tx.join_requests.save(replace(request, withdrawn_at=now))
            await self._record(tx, AuditAction.JOIN_REQUEST_WITHDRAWN, request, user.id, now=now)

    async def of_user(self, user: User) -> tuple[tuple[JoinRequest, Lab], ...]:
        """Return what the user asked for: what waits, and what they cannot ask for again yet; by the labs' names."""
        async with self._store.read() as tx:
            asked = await tx.join_requests.of_user(user.id)
        now = self._clock()
        return tuple((request, lab) for request, lab in asked if not request.may_be_repeated(now=now))

    # ── For a lab's admins ──────────────────────────────────────────────────────────────────────────────────────────
    async def of_lab(
        self, actor: Actor, slug: str, *, after: str | None = None, limit: int = 50
    ) -> Page[tuple[JoinRequest, User]]:
        """Return the requests that wait with who asks, the oldest first.

        Raises:
            NotFound, Forbidden: the actor does not look after such a lab.
            InputRefused: cursor or limit is none.
        """
        limit, behind = checked_limit(limit), None
        if after is not None:
            at, user_id = read_cursor(after, str, str)
            behind = moment_in(at), str(user_id)
        async with self._store.read() as tx:
            lab = await managed_lab(tx, actor, slug)
            found = await tx.join_requests.page(lab.id, after=behind, limit=limit + 1)
        return page_of(found, limit=limit, position=_position)

    async def count(self, actor: Actor, slug: str) -> int:
        """Return how many requests wait.

        Raises:
            NotFound, Forbidden: as for `of_lab`.
        """
        async with self._store.read() as tx:
            return await tx.join_requests.count(lab_id=(await managed_lab(tx, actor, slug)).id)

    async def decide(
        self, actor: Actor, slug: str, user_id: str, *, role: LabRole | None, ends_at: datetime | None = None
    ) -> None:
        """Take whoever asked into the lab, or deny it (None); they are told by mail.

        Raises:
            NotFound: there is no such lab for the actor, or no request of this user waits.
            Forbidden: the actor may not decide, or not give this role, or the lab is archived.
            InputRefused: the end is in the past.
        """
        given = DecisionInput.read({"role": role, "ends_at": ends_at})
        async with self._store.write() as tx:
            now = self._clock()
            lab = await locked_lab(tx, actor, slug, now=now, granting=given.role)
            request = _open(await tx.join_requests.lock(lab.id, user_id))
            if given.role is None:
                await tx.join_requests.save(replace(request, denied_at=now))
                await self._record(tx, AuditAction.JOIN_REQUEST_DENIED, request, actor.id, now=now)
            else:
                check_open(lab)
                if given.ends_at is not None and given.ends_at <= now:
                    raise InputRefused({("ends_at",): "it is in the past"})
                await self._record(tx, AuditAction.JOIN_REQUEST_GRANTED, request, actor.id, now=now)
                offered = Membership(
                    lab_id=lab.id,
                    user_id=user_id,
                    role=given.role,
                    created_at=now,
                    expires_at=given.ends_at,
                    granted_by=actor.id,
                )
                await take_in(tx, offered, actor=actor.id, now=now)
            person = await tx.users.get(user_id)
            context = {"lab_name": lab.name, "accepted": given.role is not None, "url": f"{self._issuer}/account/labs"}
            if person.active and person.email is not None:
                await self._outbox.put(
                    tx, to=person.email, purpose=MailPurpose.JOIN_REQUEST_DECIDED, context=context, now=now
                )
        self._outbox.wake()

    async def _tell_admins(
        self, tx: Transaction, lab: Lab, person: User, message: str | None, *, now: datetime
    ) -> None:
        context = {
            "lab_name": lab.name,
            "person": person.label if person.name is None else f"{person.name} ({person.label})",
            "message": message,
            "url": f"{self._issuer}/labs/{lab.slug}/requests",
        }
        for admin in await tx.memberships.admins_to_mail(lab.id, now=now):
            await self._outbox.put(tx, to=admin, purpose=MailPurpose.JOIN_REQUEST, context=context, now=now)

    async def _record(
        self, tx: Transaction, action: AuditAction, request: JoinRequest, actor: str, *, now: datetime
    ) -> None:
        await tx.audit_events.add(audit_event(action, actor=actor, target=request.user_id, now=now, lab=request.lab_id))


async def _askable(tx: Transaction, user: User, slug: str) -> Lab:
    lab = await tx.labs.find_by_slug(slug)
    if lab is None or not lab.accepts_join_requests or lab.status is not LabStatus.ACTIVE:
        raise NotFound(f"there is no lab {slug} that can be asked")
    held = await tx.memberships.find(lab.id, user.id)
    if held is not None and held.expires_at is None:
        raise NotFound(f"{user.id} belongs to {slug} for good")
    return lab


async def _check_may_ask(tx: Transaction, user: User, present: JoinRequest | None, *, now: datetime) -> None:
    if present is not None and not present.may_be_repeated(now=now):
        if present.repeatable_at is None:
            raise Forbidden("You have asked already. The admins of the lab have not decided yet.")
        ended = "You withdrew your request." if present.denied_at is None else "The lab declined."
        raise Forbidden(f"{ended} You may ask again from {present.repeatable_at:%-d %b %Y, %H:%M} UTC on.")
    # Whoever asks several labs at once is counted each time.
    await tx.users.lock(user.id)
    if await tx.join_requests.count(user_id=user.id) >= MOST_OPEN:
        raise Forbidden("You are waiting for many labs already. Withdraw a request first.")


def _open(request: JoinRequest) -> JoinRequest:
    if not request.open:
        raise NotFound(f"no request of {request.user_id} waits for {request.lab_id}")
    return request


def _position(asked: tuple[JoinRequest, User]) -> Sequence[str]:
    request, _ = asked
    return request.created_at.isoformat(), request.user_id
