"""Initial access tokens, which let developers register clients."""

from sqlalchemy import Column, String, Table

from idp.domain.registration import InitialAccessToken
from idp.store.columns import Instant, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

initial_access_tokens = Table(
    "initial_access_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("id", String(40), nullable=False, unique=True),
    Column("note", String(300), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)

INITIAL_ACCESS_TOKENS = Mapping(InitialAccessToken, initial_access_tokens)


class InitialAccessTokens(Repository[InitialAccessToken]):
    """Initial access tokens by hash."""

    mapping = INITIAL_ACCESS_TOKENS

    async def find_by_id(self, id: str) -> InitialAccessToken | None:
        """Return the token with this public id."""
        return await self._one(self._select().where(initial_access_tokens.c.id == id))
