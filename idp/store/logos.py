"""Clients' logos as we serve them."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import JSON, Column, ForeignKey, Index, LargeBinary, String, Table, and_, or_, select, type_coerce

from idp.domain.client import Client, ClientStatus
from idp.domain.logo import Logo
from idp.store.clients import CLIENTS, clients
from idp.store.columns import Instant, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

logos = Table(
    "logos",
    metadata,
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), primary_key=True),
    Column("uri", String(2048), nullable=False),
    Column("digest", String(64)),
    Column("content", LargeBinary),
    Column("fetched_at", Instant, nullable=False),
)
Index(None, logos.c.digest)

LOGOS = Mapping(Logo, logos)
_WITHOUT_CONTENT = tuple(column for column in logos.columns if column is not logos.c.content)


class Logos(Repository[Logo]):
    """Logos by client or by the SHA-256 of their content."""

    mapping = LOGOS

    async def find_by_digest(self, digest: str) -> Logo | None:
        """Return a logo with this content."""
        return await self._one(self._select().where(logos.c.digest == digest).limit(1))

    async def without_content(self, client_ids: Iterable[str]) -> Sequence[Logo]:
        """Return the clients' logos without their pictures, for pages that only link to them."""
        query = select(*_WITHOUT_CONTENT).where(logos.c.client_id.in_(list(client_ids)))
        return [Logo(**row) for row in (await self.connection.execute(query)).mappings()]

    async def due(self, *, before: datetime, limit: int) -> Sequence[Client]:
        """Return clients whose logo was never fetched from where it is registered now, or in vain before a time."""
        uri = type_coerce(clients.c.metadata, JSON)["logo_uri"].as_string()
        in_vain = and_(logos.c.digest.is_(None), logos.c.fetched_at <= before)
        query = (
            select(*CLIENTS.columns)
            .outerjoin_from(clients, logos)
            .where(
                clients.c.status == ClientStatus.ACTIVE,
                uri.is_not(None),
                or_(logos.c.client_id.is_(None), logos.c.uri != uri, in_vain),
            )
            .order_by(clients.c.client_id)
            .limit(limit)
        )
        return [CLIENTS.from_row(row) for row in await self.connection.execute(query)]
