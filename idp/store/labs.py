"""Labs and their memberships."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    extract,
    false,
    func,
    or_,
    select,
)

from idp.domain.lab import Lab, LabMember, LabMembership, LabRole, LabStatus, ManagedBy, Membership
from idp.domain.user import UserStatus
from idp.store.columns import Instant, OneOf, any_of, many, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository, columns_of
from idp.store.users import USERS, users

labs = Table(
    "labs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("slug", String(80), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("description", Text),
    Column("homepage", Text),
    Column("contact", Text),
    Column("logo_uri", Text),
    Column("admin_acr", String(300)),
    Column("accepts_join_requests", Boolean, nullable=False, server_default=false()),
    Column("join_requests_told_at", Instant),
    Column("status", OneOf(LabStatus), nullable=False),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
)

# A slug is never reissued: what a relying party once knew as `bio` must not become another lab.
lab_tombstones = Table(
    "lab_tombstones",
    metadata,
    Column("slug", String(80), primary_key=True),
    Column("deleted_at", Instant, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("role", OneOf(LabRole), nullable=False),
    Column("not_before", Instant),
    Column("expires_at", Instant),
    Column("granted_by", String(200)),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("reminded_of", Instant),
)
Index(None, memberships.c.user_id)
Index(None, memberships.c.expires_at)
Index(None, memberships.c.lab_id, memberships.c.role, memberships.c.user_id)

LABS = Mapping(Lab, labs)
MEMBERSHIPS = Mapping(Membership, memberships)


class Labs(Repository[Lab]):
    """Labs by id or slug."""

    mapping = LABS

    async def find_by_slug(self, slug: str) -> Lab | None:
        """Return the lab with this slug."""
        return await self._one(self._select().where(labs.c.slug == slug))

    async def page(
        self,
        *,
        ids: Sequence[str] | None = None,
        slugs: Sequence[str] | None = None,
        hidden: Collection[str] = (),
        search: str | None = None,
        after: str = "",
        limit: int,
    ) -> list[Lab]:
        """Return up to `limit` labs behind a slug, in the order of the slugs: of these ids, of these slugs, or of all.

        Those with a `hidden` slug are left out. A search finds what slug or name contain.
        """
        dialect = self.connection.dialect.name
        query, values = self._select().where(labs.c.slug > after), {}
        if hidden:
            query = query.where(labs.c.slug.not_in(hidden))
        for column, name, chosen in ((labs.c.id, "ids", ids), (labs.c.slug, "slugs", slugs)):
            if chosen is not None:
                query = query.where(any_of(column, name, dialect))
                values[name] = many(chosen, dialect)
        if search is not None:
            # SQLite knows the lower case of ASCII only.
            parts = (
                labs.c.slug.contains(search.lower(), autoescape=True),
                labs.c.name.contains(search, autoescape=True),
                func.lower(labs.c.name).contains(search.lower(), autoescape=True),
            )
            query = query.where(or_(*parts))
        rows = await self.connection.execute(query.order_by(labs.c.slug).limit(limit), values)
        return [LABS.from_row(row) for row in rows]

    async def slug_was_used(self, slug: str) -> bool:
        """Whether a deleted lab had this slug."""
        query = select(lab_tombstones.c.slug).where(lab_tombstones.c.slug == slug)
        return (await self.connection.execute(query)).first() is not None

    async def bury(self, lab: Lab, *, now: datetime) -> None:
        """Delete a lab with its memberships and keep its slug from being issued again."""
        await self.connection.execute(lab_tombstones.insert().values(slug=lab.slug, deleted_at=now))
        await self.delete(lab.id)


class Memberships(Repository[Membership]):
    """Memberships by lab and user."""

    mapping = MEMBERSHIPS

    async def of_user(self, user_id: str) -> list[LabMembership]:
        """Return a user's memberships with their labs, in the order of the slugs."""
        query = select(*columns_of(LABS, MEMBERSHIPS)).join_from(labs, memberships)
        rows = await self.connection.execute(query.where(memberships.c.user_id == user_id).order_by(labs.c.slug))
        return [lab_membership(row) for row in rows]

    async def find_in(self, slug: str, user_id: str) -> LabMembership | None:
        """Return a user's membership in the lab with a slug."""
        query = select(*columns_of(LABS, MEMBERSHIPS)).join_from(labs, memberships)
        row = (
            await self.connection.execute(query.where(labs.c.slug == slug, memberships.c.user_id == user_id))
        ).first()
        return None if row is None else lab_membership(row)

    async def admins_to_mail(self, lab_id: str, *, now: datetime) -> Sequence[str]:
        """Return the addresses of a lab's admins whose membership counts now."""
        query = select(users.c.email).join_from(memberships, users)
        query = query.where(memberships.c.lab_id == lab_id, memberships.c.role == LabRole.ADMIN, *counting(now))
        query = query.where(users.c.email.is_not(None), users.c.status == UserStatus.ACTIVE).order_by(users.c.email)
        return list((await self.connection.execute(query)).scalars())

    async def labs_with_ending(self, *, now: datetime, until: datetime) -> Sequence[str]:
        """Return the ids of the labs that have memberships such as `claim_ending` takes."""
        query = select(memberships.c.lab_id).distinct().select_from(memberships).join(labs).join(users)
        query = query.where(*_ending(now=now, until=until)).order_by(memberships.c.lab_id)
        return list((await self.connection.execute(query)).scalars())

    async def claim_ending(self, lab_id: str, *, now: datetime, until: datetime, limit: int) -> Sequence[LabMember]:
        """Take memberships that count now and end by a time, of which nobody was told; they are told of from now.

        One that was told of counts again once it was prolonged by more than the time from now until then: however often
        its end is moved, that takes the same time. Whoever holds the lab meanwhile is alone with what is taken.
        """
        query = select(*columns_of(USERS, MEMBERSHIPS)).select_from(memberships).join(labs).join(users)
        query = query.where(memberships.c.lab_id == lab_id, *_ending(now=now, until=until))
        query = query.order_by(memberships.c.expires_at, memberships.c.user_id).limit(limit)
        width = len(USERS.columns)
        rows = (await self.connection.execute(query.with_for_update(of=memberships, key_share=True))).all()
        ending = [
            LabMember(user=USERS.from_row(row[:width]), membership=MEMBERSHIPS.from_row(row[width:])) for row in rows
        ]
        for member in ending:
            await self.save(replace(member.membership, reminded_of=member.membership.expires_at))
        return ending


def _ending(*, now: datetime, until: datetime) -> Sequence[ColumnElement[bool]]:
    told, ends = memberships.c.reminded_of, memberships.c.expires_at
    prolonged = extract("epoch", ends) - extract("epoch", told) > int((until - now).total_seconds())
    taking_part = (labs.c.status == LabStatus.ACTIVE, users.c.status == UserStatus.ACTIVE)
    return *counting(now), ends <= until, or_(told.is_(None), prolonged), *taking_part


def counting(now: datetime) -> Sequence[ColumnElement[bool]]:
    """Return the conditions of the memberships that count (see `Membership.valid`)."""
    return (
        or_(memberships.c.not_before.is_(None), memberships.c.not_before <= now),
        or_(memberships.c.expires_at.is_(None), memberships.c.expires_at > now),
    )


def lab_membership(row: object) -> LabMembership:
    """Return the value of a row that holds a lab's columns, then a membership's."""
    return _lab_membership(tuple(row))  # type: ignore[arg-type]  # SQLAlchemy's Row is a tuple of unknown width


# What is made of a row is kept by all that the row holds: never older than it, and spared where the same is read again,
# as it is whenever one person's tokens follow one another.
@lru_cache(maxsize=4096)
def _lab_membership(cells: tuple[Any, ...]) -> LabMembership:
    width = len(LABS.columns)
    return LabMembership(lab=_lab(cells[:width]), membership=MEMBERSHIPS.from_row(cells[width:]))


@lru_cache(maxsize=1024)
def _lab(cells: tuple[Any, ...]) -> Lab:
    return LABS.from_row(cells)
