"""What was refused, by reference."""

from datetime import datetime

from sqlalchemy import Column, Index, LargeBinary, String, Table, func, select

from idp.domain.refusal import Refusal
from idp.store.columns import Instant, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

# No foreign key to clients: what an unknown one sent is explained, too.
refusals = Table(
    "refusals",
    metadata,
    Column("reference", String(20), primary_key=True),
    Column("client_id", String(2048)),
    Column("error", String(100), nullable=False),
    Column("address", String(45)),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index(None, refusals.c.expires_at)
Index(None, refusals.c.address, refusals.c.created_at)

REFUSALS = Mapping(Refusal, refusals)


class Refusals(Repository[Refusal]):
    """Refusals by reference."""

    mapping = REFUSALS

    async def count_from(self, address: str | None, *, since: datetime) -> int:
        """Return how many were kept for an address since a time."""
        query = select(func.count()).select_from(refusals).where(refusals.c.created_at >= since)
        query = query.where(refusals.c.address == address if address is not None else refusals.c.address.is_(None))
        return int((await self.connection.execute(query)).scalar_one())
