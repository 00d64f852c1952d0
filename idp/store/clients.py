"""Registered clients."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Column, String, Table

from idp.domain.client import Client, ClientStatus
from idp.domain.lab import ManagedBy
from idp.store.columns import Document, Instant, OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

clients = Table(
    "clients",
    metadata,
    Column("client_id", String(2048), primary_key=True),
    Column("client_name", String(300), nullable=False),
    Column("status", OneOf(ClientStatus), nullable=False),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("metadata", Document, nullable=False),
)


class ClientMapping(Mapping[Client]):
    """Columns for what lists sort and filter by; the many metadata members of RFC 7591 lie in one document."""

    _adapter = TypeAdapter(Client)

    def to_row(self, value: Client) -> dict[str, Any]:
        """Return the row: defaults are stored too, so that a later change of a default changes no client."""
        row: dict[str, Any] = {name: getattr(value, name) for name in self.names if name != "metadata"}
        document = self._adapter.dump_python(value, mode="json")
        row["metadata"] = {name: member for name, member in document.items() if name not in row}
        return row

    def from_row(self, row: Sequence[Any]) -> Client:
        """Return the client; members that this version does not know belong to a newer one and are left alone."""
        values = dict(zip(self.names, row, strict=True))
        members = {name: member for name, member in values.pop("metadata").items() if name in _FIELDS}
        return self._adapter.validate_python({**members, **values})


_FIELDS = frozenset(Client.__dataclass_fields__)
CLIENTS = ClientMapping(Client, clients, columns=tuple(clients.columns.keys()))


class Clients(Repository[Client]):
    """Clients by `client_id`."""

    mapping = CLIENTS
