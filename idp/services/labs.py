"""Labs and who belongs to them."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, field_validator

from idp.crypto.opaque import mint_id
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.lab import RESERVED_SLUGS, Lab, LabRole, LabStatus, ManagedBy, Membership, is_lab_slug
from idp.domain.user import User
from idp.services.accounts import find_user
from idp.services.audit import audit_event
from idp.services.input import Input, InputRefused, Lines, Text, WebAddress, longest
from idp.store.errors import Conflict, NotFound
from idp.store.store import Store, Transaction

END_OF_DAY = time(23, 59, 59, tzinfo=UTC)
_START_OF_DAY = time(0, tzinfo=UTC)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def check_slug(slug: str) -> str:
    """Return the slug of a lab.

    Raises:
        ValueError: no lab may be called that.
    """
    if slug in RESERVED_SLUGS:
        raise ValueError("it is reserved")
    if not is_lab_slug(slug):
        raise ValueError("it must be lower-case letters, digits and single hyphens between them, 39 at most")
    return slug


def _instant(at: time) -> BeforeValidator:
    """Read a moment; a mere date stands for the time `at` on that day."""

    def read(value: object) -> object:
        if value is None or isinstance(value, datetime):
            return value
        try:
            text = str(value)
            if _DATE.fullmatch(text):
                return datetime.combine(date.fromisoformat(text), at)
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("it must be a date such as 2027-06-30, or a time such as 2027-06-30T12:00:00Z") from None
        if moment.tzinfo is None:
            raise ValueError("it needs a time zone, such as Z for UTC")
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise ValueError("it is beyond the years that can be stored") from None

    return BeforeValidator(read)


class LabInput(Input):
    """A lab as it is written down."""

    slug: Annotated[str, AfterValidator(check_slug)]
    name: Annotated[Text, longest(200)]
    description: Lines | None = None
    homepage: WebAddress | None = None
    contact: Text | None = None
    status: LabStatus = LabStatus.ACTIVE

    def lab(self, present: Lab | None, *, now: datetime, managed_by: ManagedBy = ManagedBy.ADMIN) -> Lab:
        """Return the lab: a new one, or `present` as it is written down here; what is absent is at its default."""
        base = present or Lab(id=mint_id("lab"), slug=self.slug, name=self.name, created_at=now, managed_by=managed_by)
        return replace(base, **dict(self))


class MembershipInput(Input):
    """A membership as it is written down; a date ends or begins that day in UTC."""

    lab: str
    user: Text
    role: LabRole = LabRole.MEMBER
    not_before: Annotated[datetime | None, _instant(_START_OF_DAY)] = None
    expires_at: Annotated[datetime | None, _instant(END_OF_DAY)] = None

    @field_validator("expires_at")
    @classmethod
    def _check_order(cls, expires_at: datetime | None, info: Any) -> datetime | None:
        not_before = info.data.get("not_before")
        if expires_at is not None and not_before is not None and expires_at <= not_before:
            raise ValueError("it must be later than not_before")
        return expires_at

    def membership(
        self,
        present: Membership | None,
        lab: Lab,
        user: User,
        *,
        now: datetime,
        granted_by: str,
        managed_by: ManagedBy = ManagedBy.ADMIN,
    ) -> Membership:
        """Return the membership: a new one, or `present` as it is written down here."""
        base = present or Membership(
            lab_id=lab.id, user_id=user.id, role=self.role, created_at=now, granted_by=granted_by, managed_by=managed_by
        )
        return replace(base, role=self.role, not_before=self.not_before, expires_at=self.expires_at)


class Labs:
    """Administers labs; `actor` is who does it, for the audit log."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def create(self, given: LabInput, *, actor: str) -> Lab:
        """Create a lab.

        Raises:
            InputRefused: the slug is or once was another lab's.
        """
        now = self._clock()
        lab = given.lab(None, now=now)
        try:
            async with self._store.write() as tx:
                await check_slug_is_free(tx, given.slug)
                await tx.labs.add(lab)
                await tx.audit_events.add(
                    audit_event(AuditAction.LAB_CREATED, actor=actor, target=lab.id, now=now, slug=lab.slug)
                )
        except Conflict:
            raise InputRefused({("slug",): "there is a lab with this slug already"}) from None
        return lab

    async def add_member(self, given: MembershipInput, *, actor: str) -> Membership:
        """Make somebody a member, or change the membership that they have.

        Raises:
            NotFound: there is no such lab or account.
        """
        async with self._store.write() as tx:
            now = self._clock()
            lab, user = await _find(tx, given.lab, given.user)
            present = await tx.memberships.find(lab.id, user.id)
            membership = given.membership(present, lab, user, now=now, granted_by=actor)
            if present is None:
                await tx.memberships.add(membership)
            else:
                await tx.memberships.save(membership)
            action = AuditAction.MEMBERSHIP_CREATED if present is None else AuditAction.MEMBERSHIP_UPDATED
            await tx.audit_events.add(
                audit_event(action, actor=actor, target=user.id, now=now, lab=lab.id, role=str(membership.role))
            )
        return membership

    async def remove_member(self, slug: str, identifier: str, *, actor: str) -> None:
        """End a membership.

        Raises:
            NotFound: there is no such lab, account or membership.
        """
        async with self._store.write() as tx:
            lab, user = await _find(tx, slug, identifier)
            if not await tx.memberships.delete(lab.id, user.id):
                raise NotFound(f"{user.label} is no member of {slug}")
            await tx.audit_events.add(
                audit_event(AuditAction.MEMBERSHIP_DELETED, actor=actor, target=user.id, now=self._clock(), lab=lab.id)
            )


async def check_slug_is_free(tx: Transaction, slug: str) -> None:
    """Check that no lab has or had the slug.

    Raises:
        InputRefused: one has or had; relying parties may still know it.
    """
    if await tx.labs.find_by_slug(slug) is not None:
        raise InputRefused({("slug",): "there is a lab with this slug already"})
    if await tx.labs.slug_was_used(slug):
        raise InputRefused({("slug",): "it was a deleted lab's, and slugs are never given out again"})


async def _find(tx: Transaction, slug: str, identifier: str) -> tuple[Lab, User]:
    lab, user = await tx.labs.find_by_slug(slug), await find_user(tx, identifier)
    if lab is None:
        raise NotFound(f"there is no lab {slug}")
    if user is None:
        raise NotFound(f"there is no account {identifier}")
    return lab, user
