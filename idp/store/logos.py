"""Logos of clients and labs as we serve them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    and_,
    or_,
    select,
    type_coerce,
)

from idp.domain.client import Client, ClientStatus
from idp.domain.lab import Lab, LabStatus
from idp.domain.logo import LabLogo, Logo, Picture
from idp.store.clients import CLIENTS, clients
from idp.store.columns import Instant, metadata
from idp.store.labs import LABS, labs
from idp.store.mapping import Mapping
from idp.store.repository import Repository

P = TypeVar("P", bound=Picture)
T = TypeVar("T")


def _pictures(name: str, owner: Column[str]) -> Table:
    table = Table(
        name,
        metadata,
        owner,
        Column("uri", String(2048), nullable=False),
        Column("digest", String(64)),
        Column("content", LargeBinary),
        Column("fetched_at", Instant, nullable=False),
    )
    Index(None, table.c.digest)
    return table


logos = _pictures(
    "logos",
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), primary_key=True),
)
lab_logos = _pictures(
    "lab_logos", Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), primary_key=True)
)

LOGOS = Mapping(Logo, logos)
LAB_LOGOS = Mapping(LabLogo, lab_logos)


class Pictures(Repository[P]):
    """Pictures by whose they are, or by the SHA-256 of their content."""

    async def find_by_digest(self, digest: str) -> P | None:
        """Return a picture with this content."""
        return await self._one(self._select().where(self.mapping.table.c.digest == digest).limit(1))

    async def without_content(self, owners: Iterable[str]) -> dict[str, P]:
        """Return by owner what is held without the pictures themselves, for pages that only link to them."""
        (owner,) = self.mapping.table.primary_key.columns
        columns = [column for column in self.mapping.columns if column.key != "content"]
        rows = await self.connection.execute(select(*columns).where(owner.in_(list(owners))))
        return {row[owner.key]: self.mapping.kind(**row) for row in rows.mappings()}

    async def _due(
        self,
        owners: Mapping[T],
        uri: ColumnElement[str],
        *conditions: ColumnElement[bool],
        before: datetime,
        limit: int,
    ) -> Sequence[T]:
        table = self.mapping.table
        (owner,) = table.primary_key.columns
        in_vain = and_(table.c.digest.is_(None), table.c.fetched_at <= before)
        query = (
            select(*owners.columns)
            .outerjoin_from(owners.table, table)
            .where(uri.is_not(None), or_(owner.is_(None), table.c.uri != uri, in_vain), *conditions)
            .order_by(*owners.table.primary_key.columns)
            .limit(limit)
        )
        return [owners.from_row(row) for row in await self.connection.execute(query)]


class Logos(Pictures[Logo]):
    """Logos of clients."""

    mapping = LOGOS

    async def due(self, *, before: datetime, limit: int) -> Sequence[Client]:
        """Return clients whose logo was never fetched from where it is registered now, or in vain before a time."""
        uri: ColumnElement[Any] = type_coerce(clients.c.metadata, JSON)["logo_uri"].as_string()
        return await self._due(CLIENTS, uri, clients.c.status == ClientStatus.ACTIVE, before=before, limit=limit)


class LabLogos(Pictures[LabLogo]):
    """Logos of labs."""

    mapping = LAB_LOGOS

    async def due(self, *, before: datetime, limit: int) -> Sequence[Lab]:
        """Return labs whose logo was never fetched from where it is now, or in vain before a time."""
        return await self._due(LABS, labs.c.logo_uri, labs.c.status == LabStatus.ACTIVE, before=before, limit=limit)
