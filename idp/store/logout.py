"""Logout tokens that are owed to clients: a durable outbox."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Text, and_, func, or_, select, update

from idp.domain.logout import LogoutDelivery
from idp.store.columns import Instant, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

logout_deliveries = Table(
    "logout_deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", String(64), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant),
    Column("claimed_until", Instant),
    Column("delivered_at", Instant),
    Column("last_error", Text),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index(None, logout_deliveries.c.next_attempt_at)
Index(None, logout_deliveries.c.expires_at)
Index(None, logout_deliveries.c.session_id)

LOGOUT_DELIVERIES = Mapping(LogoutDelivery, logout_deliveries)


class LogoutDeliveries(Repository[LogoutDelivery]):
    """Deliveries by id."""

    mapping = LOGOUT_DELIVERIES

    async def claim_due(
        self, *, now: datetime, until: datetime, limit: int, busy: Collection[str] = ()
    ) -> list[LogoutDelivery]:
        """Take deliveries that are due, for this node alone until a time; on PostgreSQL others skip what is taken.

        At most one for each client and none for the `busy` ones, so that a client that hangs holds up only its own;
        fewer attempts go first, so that those that hang again and again hold up nobody's first one.
        """
        table = logout_deliveries
        is_due = and_(
            table.c.next_attempt_at <= now,
            or_(table.c.claimed_until.is_(None), table.c.claimed_until <= now),
            table.c.client_id.not_in(busy),
        )
        order = (table.c.attempts, table.c.next_attempt_at, table.c.id)
        turn = func.row_number().over(partition_by=table.c.client_id, order_by=order)
        ranked = select(table.c.id, turn.label("turn")).where(is_due).subquery()
        due = (
            select(table.c.id)
            # Once more that they are due: another node may have taken one since they were ranked.
            .where(table.c.id.in_(select(ranked.c.id).where(ranked.c.turn == 1)), is_due)
            .order_by(*order)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        ids = list((await self.connection.execute(due)).scalars())
        if not ids:
            return []
        await self.connection.execute(update(table).where(table.c.id.in_(ids)).values(claimed_until=until))
        return await self._many(self._select().where(table.c.id.in_(ids)).order_by(*order))

    async def undelivered(self) -> Sequence[LogoutDelivery]:
        """Return what is still owed and what was given up, in the order in which it arose."""
        query = self._select().where(logout_deliveries.c.delivered_at.is_(None))
        return await self._many(query.order_by(logout_deliveries.c.created_at, logout_deliveries.c.id))

    async def count_given_up(self) -> int:
        """Return how many deliveries were given up and not yet swept."""
        table = logout_deliveries
        query = select(func.count()).select_from(table)
        query = query.where(table.c.next_attempt_at.is_(None), table.c.delivered_at.is_(None))
        return int((await self.connection.execute(query)).scalar_one())

    async def of_session(self, session_id: str) -> Sequence[LogoutDelivery]:
        """Return what is owed, or was, about one session."""
        query = self._select().where(logout_deliveries.c.session_id == session_id)
        return await self._many(query.order_by(logout_deliveries.c.client_id))
