"""What labs give to services."""

from collections.abc import Sequence

from sqlalchemy import Column, ForeignKey, Index, String, Table, func, select

from idp.domain.client import Client
from idp.domain.lab import LabMembership, LabRole, ManagedBy
from idp.domain.lab_grant import LabGrant
from idp.store.clients import CLIENTS, clients
from idp.store.columns import Instant, OneOf, metadata
from idp.store.labs import LABS, labs
from idp.store.mapping import Mapping
from idp.store.repository import Repository, columns_of

lab_grants = Table(
    "lab_grants",
    metadata,
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), primary_key=True),
    Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), primary_key=True),
    Column("role", OneOf(LabRole), nullable=False),
    Column("granted_by", String(200), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
)
Index(None, lab_grants.c.lab_id)

LAB_GRANTS = Mapping(LabGrant, lab_grants)


class LabGrants(Repository[LabGrant]):
    """Grants to services by client and lab."""

    mapping = LAB_GRANTS

    async def of_lab(self, lab_id: str) -> Sequence[tuple[LabGrant, Client]]:
        """Return what a lab gives with the clients, in the order of their names."""
        query = select(*columns_of(LAB_GRANTS, CLIENTS)).join_from(lab_grants, clients)
        query = query.where(lab_grants.c.lab_id == lab_id)
        rows = await self.connection.execute(query.order_by(func.lower(clients.c.client_name), clients.c.client_id))
        width = len(LAB_GRANTS.columns)
        return [(LAB_GRANTS.from_row(row[:width]), CLIENTS.from_row(row[width:])) for row in rows]

    async def of_client(self, client_id: str) -> Sequence[LabMembership]:
        """Return what a client was given, as memberships with their labs, in the order of the slugs."""
        query = select(*columns_of(LABS, LAB_GRANTS)).join_from(labs, lab_grants)
        rows = await self.connection.execute(query.where(lab_grants.c.client_id == client_id).order_by(labs.c.slug))
        width = len(LABS.columns)
        return [
            LabMembership(lab=LABS.from_row(row[:width]), membership=LAB_GRANTS.from_row(row[width:]).membership)
            for row in rows
        ]
