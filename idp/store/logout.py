"""Logout tokens that are owed to clients: a durable outbox."""

from collections.abc import Sequence

from sqlalchemy import Column, ForeignKey, Index, String, Table

from idp.domain.logout import LogoutDelivery
from idp.store.columns import metadata
from idp.store.mapping import Mapping
from idp.store.outbox import Outbox, index_outbox, outbox_columns

logout_deliveries = Table(
    "logout_deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", String(64), nullable=False),
    *outbox_columns(),
)
index_outbox(logout_deliveries)
Index(None, logout_deliveries.c.session_id)

LOGOUT_DELIVERIES = Mapping(LogoutDelivery, logout_deliveries)


class LogoutDeliveries(Outbox[LogoutDelivery]):
    """Deliveries by id; each client takes one at a time."""

    mapping = LOGOUT_DELIVERIES
    receiver = "client_id"

    async def undelivered(self) -> Sequence[LogoutDelivery]:
        """Return what is still owed and what was given up, in the order in which it arose."""
        query = self._select().where(logout_deliveries.c.delivered_at.is_(None))
        return await self._many(query.order_by(logout_deliveries.c.created_at, logout_deliveries.c.id))

    async def of_session(self, session_id: str) -> Sequence[LogoutDelivery]:
        """Return what is owed, or was, about one session."""
        query = self._select().where(logout_deliveries.c.session_id == session_id)
        return await self._many(query.order_by(logout_deliveries.c.client_id))
