"""Clients' logos as we serve them."""

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, String, Table

from idp.domain.logo import Logo
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


class Logos(Repository[Logo]):
    """Logos by client or by the SHA-256 of their content."""

    mapping = LOGOS

    async def find_by_digest(self, digest: str) -> Logo | None:
        """Return a logo with this content."""
        return await self._one(self._select().where(logos.c.digest == digest).limit(1))
