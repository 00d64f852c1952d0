"""Invitations and requests to join: how people come into labs."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, ColumnElement, ForeignKey, Index, String, Table, Text, func, or_, select

from idp.domain.invitation import Invitation
from idp.domain.join_request import JoinRequest
from idp.domain.lab import Lab, LabRole, LabStatus
from idp.domain.user import User
from idp.store.columns import Instant, OneOf, metadata
from idp.store.labs import LABS, labs, memberships
from idp.store.mapping import Mapping
from idp.store.repository import Repository, columns_of
from idp.store.users import USERS, users

invitations = Table(
    "invitations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), nullable=False),
    Column("role", OneOf(LabRole), nullable=False),
    Column("email", String(320)),
    Column("invited_by", String(200), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ends_at", Instant),
    Column("answered_by", String(40)),
    Column("accepted_at", Instant),
    Column("declined_at", Instant),
    Column("revoked_at", Instant),
)
Index(None, invitations.c.lab_id, invitations.c.created_at)
Index(None, invitations.c.email)
Index(None, invitations.c.expires_at)

join_requests = Table(
    "join_requests",
    metadata,
    Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("message", Text),
    Column("created_at", Instant, nullable=False),
    Column("denied_at", Instant),
    Column("withdrawn_at", Instant),
    Column("told_at", Instant),
)
Index(None, join_requests.c.user_id)

INVITATIONS = Mapping(Invitation, invitations)
JOIN_REQUESTS = Mapping(JoinRequest, join_requests)


class Invitations(Repository[Invitation]):
    """Invitations by id."""

    mapping = INVITATIONS

    async def find_by_hash(self, token_hash: str) -> Invitation | None:
        """Return the invitation whose link holds this token."""
        return await self._one(self._select().where(invitations.c.hash == token_hash))

    async def of_lab(self, lab_id: str) -> Sequence[Invitation]:
        """Return the invitations into a lab, the newest first."""
        query = self._select().where(invitations.c.lab_id == lab_id)
        return await self._many(query.order_by(invitations.c.created_at.desc(), invitations.c.id))

    async def count_open(self, lab_id: str, *, now: datetime) -> int:
        """Return how many invitations into a lab wait for an answer."""
        query = select(func.count()).select_from(invitations).where(invitations.c.lab_id == lab_id, *_waiting(now))
        return int((await self.connection.execute(query)).scalar_one())

    async def open_for(self, email: str, *, now: datetime, lab_id: str | None = None) -> Sequence[Invitation]:
        """Return the invitations that wait for whoever has an address, into one lab or any, the newest first."""
        query = self._select().where(invitations.c.email == email, *_waiting(now))
        if lab_id is not None:
            query = query.where(invitations.c.lab_id == lab_id)
        return await self._many(query.order_by(invitations.c.created_at.desc(), invitations.c.id))


def _waiting(now: datetime) -> Sequence[ColumnElement[bool]]:
    return (
        invitations.c.accepted_at.is_(None),
        invitations.c.declined_at.is_(None),
        invitations.c.revoked_at.is_(None),
        invitations.c.expires_at > now,
    )


_OPEN = (join_requests.c.denied_at.is_(None), join_requests.c.withdrawn_at.is_(None))


class JoinRequests(Repository[JoinRequest]):
    """Requests to join by lab and user."""

    mapping = JOIN_REQUESTS

    async def of_lab(self, lab_id: str) -> Sequence[tuple[JoinRequest, User]]:
        """Return the requests that wait for a lab's admins with who asks, the oldest first."""
        query = select(*columns_of(JOIN_REQUESTS, USERS)).join_from(join_requests, users)
        query = query.where(join_requests.c.lab_id == lab_id, *_OPEN)
        rows = await self.connection.execute(query.order_by(join_requests.c.created_at, join_requests.c.user_id))
        return [(JOIN_REQUESTS.from_row(row[:_WIDTH]), USERS.from_row(row[_WIDTH:])) for row in rows]

    async def of_user(self, user_id: str) -> Sequence[tuple[JoinRequest, Lab]]:
        """Return a user's requests that wait or were denied, with their labs, in the order of the labs' names."""
        query = select(*columns_of(JOIN_REQUESTS, LABS)).join_from(join_requests, labs)
        query = query.where(join_requests.c.user_id == user_id, join_requests.c.withdrawn_at.is_(None))
        rows = await self.connection.execute(query.order_by(func.lower(labs.c.name), labs.c.slug))
        return [(JOIN_REQUESTS.from_row(row[:_WIDTH]), LABS.from_row(row[_WIDTH:])) for row in rows]

    async def told_since(self, lab_id: str, moment: datetime) -> bool:
        """Whether the lab's admins were mailed about a request after a moment."""
        query = select(join_requests.c.user_id)
        query = query.where(join_requests.c.lab_id == lab_id, join_requests.c.told_at > moment)
        return (await self.connection.execute(query.limit(1))).first() is not None

    async def joinable(self, user_id: str, *, denied_after: datetime, limit: int) -> Sequence[Lab]:
        """Return labs that the user may ask, by name: they accept requests, and have not just denied this one."""
        belongs = select(memberships.c.lab_id).where(memberships.c.user_id == user_id)
        asked = select(join_requests.c.lab_id).where(
            join_requests.c.user_id == user_id,
            join_requests.c.withdrawn_at.is_(None),
            or_(join_requests.c.denied_at.is_(None), join_requests.c.denied_at > denied_after),
        )
        query = select(*LABS.columns).where(
            labs.c.accepts_join_requests,
            labs.c.status == LabStatus.ACTIVE,
            labs.c.id.not_in(belongs),
            labs.c.id.not_in(asked),
        )
        rows = await self.connection.execute(query.order_by(func.lower(labs.c.name), labs.c.slug).limit(limit))
        return [LABS.from_row(row) for row in rows]


_WIDTH = len(JOIN_REQUESTS.columns)
