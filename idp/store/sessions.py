"""Browser sessions."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Boolean, Column, ForeignKey, Index, String, Table, Text, true, update

from idp.domain.session import Session
from idp.store.columns import Instant, TupleOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("auth_time", Instant, nullable=False),
    Column("auth_time_known", Boolean, nullable=False, server_default=true()),
    Column("acr", String(200), nullable=False),
    Column("amr", TupleOf(), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("user_agent", Text),
    Column("address", String(45)),
)
Index(None, sessions.c.user_id)
Index(None, sessions.c.expires_at)

SESSIONS = Mapping(Session, sessions)


class Sessions(Repository[Session]):
    """Sessions by `sid`."""

    mapping = SESSIONS

    async def end(self, sid: str, *, now: datetime) -> bool:
        """End a session; False when it had ended before."""
        query = update(sessions).where(sessions.c.id == sid, sessions.c.ended_at.is_(None)).values(ended_at=now)
        return bool((await self.connection.execute(query)).rowcount)

    async def end_all(self, user_id: str, *, now: datetime) -> list[str]:
        """End every session of a user and return the `sid` of each."""
        query = update(sessions).where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None))
        ended = query.values(ended_at=now).returning(sessions.c.id)
        return list((await self.connection.execute(ended)).scalars())

    async def of_user(self, user_id: str) -> Sequence[Session]:
        """Return a user's sessions that were not ended, the oldest first."""
        query = self._select().where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None))
        return await self._many(query.order_by(sessions.c.created_at, sessions.c.id))

    async def touch(self, sid: str, *, now: datetime) -> None:
        """Remember that a session is in use."""
        query = update(sessions).where(sessions.c.id == sid, sessions.c.last_seen_at < now)
        await self.connection.execute(query.values(last_seen_at=now))
