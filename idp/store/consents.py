"""Remembered consents."""

from collections.abc import Sequence

from sqlalchemy import Column, ForeignKey, Index, String, Table

from idp.domain.consent import Consent
from idp.store.columns import Document, Instant, TupleOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

consents = Table(
    "consents",
    metadata,
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), primary_key=True),
    Column("scopes", TupleOf(), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("labs", Document),
)
Index(None, consents.c.client_id)

CONSENTS = Mapping(Consent, consents)


class Consents(Repository[Consent]):
    """Consents by user and client."""

    mapping = CONSENTS

    async def of_user(self, user_id: str) -> Sequence[Consent]:
        """Return everything that a user agreed to."""
        return await self._many(self._select().where(consents.c.user_id == user_id))
