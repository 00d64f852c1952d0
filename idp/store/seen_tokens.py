"""Tokens that count once, as they were used."""

from sqlalchemy import Column, Index, String, Table

from idp.domain.seen_token import SeenToken
from idp.store.columns import Instant, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository

seen_tokens = Table(
    "seen_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("expires_at", Instant, nullable=False),
)
Index(None, seen_tokens.c.expires_at)

SEEN_TOKENS = Mapping(SeenToken, seen_tokens)


class SeenTokens(Repository[SeenToken]):
    """Seen tokens by hash; only ever inserted, where the primary key lets one caller win, and swept when expired."""

    mapping = SEEN_TOKENS
