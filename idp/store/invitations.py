"""Invitations and requests to join: how people come into labs."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    and_,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
)

from idp.domain.invitation import Invitation
from idp.domain.join_request import JoinRequest
from idp.domain.lab import Lab, LabRole, LabStatus
from idp.domain.user import User
from idp.store.columns import Instant, OneOf, any_of, many, metadata
from idp.store.errors import NotFound
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
    Column("bound_to", String(40)),
    Column("answered_by", String(40)),
    Column("accepted_at", Instant),
    Column("declined_at", Instant),
    Column("revoked_at", Instant),
)
Index(None, invitations.c.lab_id, invitations.c.created_at, invitations.c.id)
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
)
Index(None, join_requests.c.user_id)
Index(None, join_requests.c.lab_id, join_requests.c.created_at, join_requests.c.user_id)

# Where a page begins: behind an invitation that waits or does not, and behind a request.
InvitationPosition = tuple[bool, datetime, str]
RequestPosition = tuple[datetime, str]

INVITATIONS = Mapping(Invitation, invitations)
JOIN_REQUESTS = Mapping(JoinRequest, join_requests)


class Invitations(Repository[Invitation]):
    """Invitations by id."""

    mapping = INVITATIONS

    async def find_by_hash(self, token_hash: str) -> Invitation | None:
        """Return the invitation whose link holds this token."""
        return await self._one(self._select().where(invitations.c.hash == token_hash))

    async def page(
        self, lab_id: str, *, now: datetime, after: InvitationPosition | None = None, limit: int
    ) -> list[Invitation]:
        """Return up to `limit` invitations into a lab behind a position: those that wait, then others; newest first."""
        place = tuple_(invitations.c.created_at, invitations.c.id)
        behind = [] if after is None else [place < tuple_(literal(after[1], Instant()), literal(after[2]))]
        waiting = and_(*_waiting(now))
        found: list[Invitation] = []
        for part in (waiting, not_(waiting)) if after is None or after[0] else (not_(waiting),):
            if len(found) < limit:
                query = self._select().where(invitations.c.lab_id == lab_id, part, *behind)
                query = query.order_by(invitations.c.created_at.desc(), invitations.c.id.desc())
                found += await self._many(query.limit(limit - len(found)))
            behind = []
        return found

    async def mailed(self, lab_id: str, *, since: datetime, limit: int) -> Sequence[datetime]:
        """Return when the latest invitations into a lab were mailed, whatever became of them; the newest first."""
        query = select(invitations.c.created_at).where(invitations.c.lab_id == lab_id, *_mailed(since))
        query = query.order_by(invitations.c.created_at.desc()).limit(limit)
        return list((await self.connection.execute(query)).scalars())

    async def mailed_to(self, emails: Sequence[str], *, lab_id: str, since: datetime) -> Sequence[tuple[str, datetime]]:
        """Return to which of the addresses invitations into a lab were mailed, and when; the newest first."""
        dialect = self.connection.dialect.name
        query = select(invitations.c.email, invitations.c.created_at)
        query = query.where(any_of(invitations.c.email, "emails", dialect), invitations.c.lab_id == lab_id)
        query = query.where(*_mailed(since)).order_by(invitations.c.created_at.desc())
        rows = await self.connection.execute(query, {"emails": many(emails, dialect)})
        return [(email, at) for email, at in rows]

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

    async def open_for_user(self, user_id: str, *, lab_id: str, now: datetime) -> Sequence[Invitation]:
        """Return the invitations into a lab that wait for the address of an account."""
        query = self._select().join(users, users.c.email == invitations.c.email)
        return await self._many(query.where(users.c.id == user_id, invitations.c.lab_id == lab_id, *_waiting(now)))

    async def open_to(self, emails: Sequence[str], *, lab_id: str, now: datetime) -> Sequence[Invitation]:
        """Return the invitations into a lab that wait for whoever has one of the addresses."""
        dialect = self.connection.dialect.name
        query = self._select().where(any_of(invitations.c.email, "emails", dialect), invitations.c.lab_id == lab_id)
        rows = await self.connection.execute(query.where(*_waiting(now)), {"emails": many(emails, dialect)})
        return [INVITATIONS.from_row(row) for row in rows]


def _mailed(since: datetime) -> Sequence[ColumnElement[bool]]:
    return invitations.c.email.is_not(None), invitations.c.created_at > since


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

    async def page(
        self, lab_id: str, *, after: RequestPosition | None = None, limit: int
    ) -> Sequence[tuple[JoinRequest, User]]:
        """Return up to `limit` requests behind a position that wait for a lab's admins, with who asks; oldest first."""
        query = select(*columns_of(JOIN_REQUESTS, USERS)).join_from(join_requests, users)
        query = query.where(join_requests.c.lab_id == lab_id, *_OPEN)
        if after is not None:
            place = tuple_(join_requests.c.created_at, join_requests.c.user_id)
            query = query.where(place > tuple_(literal(after[0], Instant()), literal(after[1])))
        query = query.order_by(join_requests.c.created_at, join_requests.c.user_id).limit(limit)
        rows = await self.connection.execute(query)
        return [(JOIN_REQUESTS.from_row(row[:_WIDTH]), USERS.from_row(row[_WIDTH:])) for row in rows]

    async def of_user(self, user_id: str) -> Sequence[tuple[JoinRequest, Lab]]:
        """Return a user's requests, whatever became of them, with their labs, in the order of the labs' names."""
        query = select(*columns_of(JOIN_REQUESTS, LABS)).join_from(join_requests, labs)
        query = query.where(join_requests.c.user_id == user_id)
        rows = await self.connection.execute(query.order_by(func.lower(labs.c.name), labs.c.slug))
        return [(JOIN_REQUESTS.from_row(row[:_WIDTH]), LABS.from_row(row[_WIDTH:])) for row in rows]

    async def count(self, *, lab_id: str | None = None, user_id: str | None = None) -> int:
        """Return how many requests wait, for a lab's admins or of a user."""
        query = select(func.count()).select_from(join_requests).where(*_OPEN)
        if lab_id is not None:
            query = query.where(join_requests.c.lab_id == lab_id)
        if user_id is not None:
            query = query.where(join_requests.c.user_id == user_id)
        return int((await self.connection.execute(query)).scalar_one())

    async def lock_of_user(self, user_id: str, slug: str) -> JoinRequest:
        """Lock a user's request to the lab with this slug, in the same statement whether there is such a lab or not.

        Raises:
            NotFound: there is none.
        """
        query = self._select().join_from(join_requests, labs).where(join_requests.c.user_id == user_id)
        query = query.where(labs.c.slug == slug).with_for_update(of=join_requests, key_share=True)
        request = await self._one(query)
        if request is None:
            raise NotFound(f"{user_id} did not ask {slug}")
        return request

    async def joinable(
        self, user_id: str, *, denied_after: datetime, withdrawn_after: datetime, limit: int
    ) -> Sequence[Lab]:
        """Return labs that the user may ask, by name: they accept requests, and none of this user's has just ended."""
        belongs = select(memberships.c.lab_id).where(memberships.c.user_id == user_id)
        asked = select(join_requests.c.lab_id).where(
            join_requests.c.user_id == user_id,
            or_(and_(*_OPEN), join_requests.c.denied_at > denied_after, join_requests.c.withdrawn_at > withdrawn_after),
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
