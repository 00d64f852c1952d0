"""What was refused, by reference."""

from sqlalchemy import Column, Index, LargeBinary, String, Table

from idp.domain.refusal import Refusal
from idp.store.columns import Instant, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

# No foreign key to clients: what an unknown one sent is explained, too.
refusals = Table(
    "refusals",
    metadata,
    Column("reference", String(40), primary_key=True),
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
