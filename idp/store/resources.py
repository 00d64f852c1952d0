"""Registered protected resources."""

from sqlalchemy import Column, String, Table

from idp.domain.lab import ManagedBy
from idp.domain.resource import Resource
from idp.store.columns import Instant, OneOf, TupleOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

# No foreign key to clients: the API and its client are declared in any order, and either may go first.
resources = Table(
    "resources",
    metadata,
    Column("audience", String(2048), primary_key=True),
    Column("name", String(300), nullable=False),
    Column("scopes", TupleOf(), nullable=False),
    Column("client_id", String(2048)),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
)

RESOURCES = Mapping(Resource, resources)


class Resources(Repository[Resource]):
    """Resources by audience."""

    mapping = RESOURCES
