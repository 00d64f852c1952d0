"""Other providers, and the rules by which they make members of labs."""

from collections.abc import Sequence

from sqlalchemy import Boolean, Column, ForeignKey, Index, LargeBinary, String, Table, Text, select

from idp.domain.lab import LabRole, ManagedBy
from idp.domain.lab_rule import LabDeparture, LabRule
from idp.domain.provider import Provider, ProviderKind, ProviderStatus
from idp.store.columns import Document, Instant, OneOf, TupleOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

providers = Table(
    "providers",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("kind", OneOf(ProviderKind), nullable=False),
    Column("display_name", String(300), nullable=False),
    Column("issuer", String(2048), nullable=False),
    Column("client_id", String(2048), nullable=False),
    Column("sealed_secret", LargeBinary),
    Column("token_endpoint_auth_method", String(40)),
    Column("scope", Text, nullable=False),
    Column("hosted_domains", TupleOf(), nullable=False),
    Column("claims", Document, nullable=False),
    Column("update_profile", Boolean, nullable=False),
    Column("assume_email_verified", Boolean, nullable=False),
    Column("acr", Document, nullable=False),
    Column("amr", Document, nullable=False),
    Column("logout", Boolean, nullable=False),
    Column("api_scope", Text, nullable=False),
    Column("api_clients", TupleOf(), nullable=False),
    Column("status", OneOf(ProviderStatus), nullable=False),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

lab_rules = Table(
    "lab_rules",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), nullable=False),
    # One that comes from the settings has no row to refer to.
    Column("provider", String(40), nullable=False),
    Column("claim", String(200), nullable=False),
    Column("value", Text, nullable=False),
    Column("role", OneOf(LabRole), nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("managed_by", OneOf(ManagedBy), nullable=False),
    Column("created_at", Instant, nullable=False),
)
Index(None, lab_rules.c.lab_id)
Index(None, lab_rules.c.provider)

lab_departures = Table(
    "lab_departures",
    metadata,
    Column("lab_id", String(40), ForeignKey("labs.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("ended_by", String(200), nullable=False),
    Column("ended_at", Instant, nullable=False),
)
Index(None, lab_departures.c.user_id)
PROVIDERS = Mapping(Provider, providers)
LAB_RULES = Mapping(LabRule, lab_rules)
LAB_DEPARTURES = Mapping(LabDeparture, lab_departures)


class Providers(Repository[Provider]):
    """Providers by name."""

    mapping = PROVIDERS


class LabRules(Repository[LabRule]):
    """Rules by id."""

    mapping = LAB_RULES

    async def of_provider(self, provider: str) -> Sequence[LabRule]:
        """Return the rules about what one provider tells."""
        query = self._select().where(lab_rules.c.provider == provider)
        return await self._many(query.order_by(lab_rules.c.created_at, lab_rules.c.id))

    async def of_lab(self, lab_id: str) -> Sequence[LabRule]:
        """Return the rules of one lab."""
        query = self._select().where(lab_rules.c.lab_id == lab_id)
        return await self._many(query.order_by(lab_rules.c.created_at, lab_rules.c.id))


class LabDepartures(Repository[LabDeparture]):
    """Who was removed from a lab or left it, by lab and user: rules do not take them in again."""

    mapping = LAB_DEPARTURES

    async def remember(self, departure: LabDeparture) -> None:
        """Keep that a membership was ended by somebody; the caller holds the lab's lock."""
        await self.delete(departure.lab_id, departure.user_id)
        await self.add(departure)

    async def of_lab(self, lab_id: str) -> set[str]:
        """Return the ids of those who were removed from a lab or left it."""
        query = select(lab_departures.c.user_id).where(lab_departures.c.lab_id == lab_id)
        return set((await self.connection.execute(query)).scalars())
