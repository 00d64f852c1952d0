"""What belongs to signing in through other providers: linked accounts, visits under way, and what was fetched there."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    select,
    update,
)

from idp.domain.upstream import KeptDocument, LinkedAccount, UpstreamSession, UpstreamVisit, VisitStage
from idp.domain.user import User
from idp.store.columns import Document, Instant, OneOf, metadata
from idp.store.mapping import Mapping
from idp.store.repository import Repository, columns_of
from idp.store.users import USERS, users

linked_accounts = Table(
    "linked_accounts",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("issuer", String(500), nullable=False),
    Column("sub", String(255), nullable=False),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("provider", String(40), nullable=False),
    Column("email", String(320)),
    Column("name", String(300)),
    Column("claims", Document, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("last_used_at", Instant),
    Column("sealed_refresh_token", LargeBinary),
    Column("api_scope", Text, nullable=False),
    # What makes it one person's alone, however many ask at the same time (OpenID Connect Core §5.7).
    UniqueConstraint("issuer", "sub"),
)
Index(None, linked_accounts.c.user_id)
Index(None, linked_accounts.c.provider)

upstream_visits = Table(
    "upstream_visits",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("provider", String(40), nullable=False),
    Column("stage", OneOf(VisitStage), nullable=False),
    Column("browser", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("used_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index(None, upstream_visits.c.expires_at)

upstream_sessions = Table(
    "upstream_sessions",
    metadata,
    Column("session_id", String(64), ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("provider", String(40), nullable=False),
    Column("sealed_id_token", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

kept_documents = Table(
    "kept_documents",
    metadata,
    Column("uri", String(2048), primary_key=True),
    Column("body", Text, nullable=False),
    Column("fetched_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index(None, kept_documents.c.expires_at)

LINKED_ACCOUNTS = Mapping(LinkedAccount, linked_accounts)
UPSTREAM_VISITS = Mapping(UpstreamVisit, upstream_visits)
UPSTREAM_SESSIONS = Mapping(UpstreamSession, upstream_sessions)
KEPT_DOCUMENTS = Mapping(KeptDocument, kept_documents)


class LinkedAccounts(Repository[LinkedAccount]):
    """Accounts at other providers by id."""

    mapping = LINKED_ACCOUNTS

    async def find_by_key(self, issuer: str, sub: str, *, lock: bool = False) -> tuple[LinkedAccount, User] | None:
        """Return the account with its user (OpenID Connect Core §5.7).

        With `lock` both are held against other writers until the transaction ends (see `Repository.lock`).
        """
        # The user stands first, and is locked first: whoever changes a link holds its user.
        query = select(*columns_of(LINKED_ACCOUNTS, USERS)).join_from(users, linked_accounts)
        query = query.where(linked_accounts.c.issuer == issuer, linked_accounts.c.sub == sub)
        if lock:
            query = query.with_for_update(key_share=True, of=(users, linked_accounts))
        row = (await self.connection.execute(query)).first()
        if row is None:
            return None
        width = len(LINKED_ACCOUNTS.columns)
        return LINKED_ACCOUNTS.from_row(row[:width]), USERS.from_row(row[width:])

    async def of_user(self, user_id: str) -> Sequence[LinkedAccount]:
        """Return a user's accounts, the oldest link first."""
        query = self._select().where(linked_accounts.c.user_id == user_id)
        return await self._many(query.order_by(linked_accounts.c.created_at, linked_accounts.c.id))

    async def of_provider(self, provider: str) -> Sequence[tuple[LinkedAccount, User]]:
        """Return every account at one provider with its user."""
        query = select(*columns_of(LINKED_ACCOUNTS, USERS)).join_from(linked_accounts, users)
        rows = await self.connection.execute(
            query.where(linked_accounts.c.provider == provider).order_by(linked_accounts.c.id)
        )
        width = len(LINKED_ACCOUNTS.columns)
        return [(LINKED_ACCOUNTS.from_row(row[:width]), USERS.from_row(row[width:])) for row in rows]

    async def counts(self) -> dict[str, int]:
        """Return how many accounts each provider has here."""
        query = select(linked_accounts.c.provider, func.count()).group_by(linked_accounts.c.provider)
        return {row.provider: row[1] for row in await self.connection.execute(query)}

    async def page_of_provider(
        self, provider: str, issuer: str, *, after: str = "", limit: int
    ) -> Sequence[tuple[LinkedAccount, User]]:
        """Return up to `limit` accounts at one provider behind an id with their users, in the order of the ids.

        Those of another issuer, which the provider's name was once, are left out.
        """
        query = select(*columns_of(LINKED_ACCOUNTS, USERS)).join_from(linked_accounts, users)
        query = query.where(linked_accounts.c.provider == provider, linked_accounts.c.issuer == issuer)
        query = query.where(linked_accounts.c.id > after)
        rows = await self.connection.execute(query.order_by(linked_accounts.c.id).limit(limit))
        width = len(LINKED_ACCOUNTS.columns)
        return [(LINKED_ACCOUNTS.from_row(row[:width]), USERS.from_row(row[width:])) for row in rows]


class UpstreamVisits(Repository[UpstreamVisit]):
    """Visits by hash; whoever uses one up does it by a group commit."""

    mapping = UPSTREAM_VISITS

    async def use(self, hash: str, *, now: datetime) -> bool:
        """Use a visit up within this transaction; False when it was used or is gone."""
        unused = update(upstream_visits).where(upstream_visits.c.hash == hash, upstream_visits.c.used_at.is_(None))
        return bool((await self.connection.execute(unused.values(used_at=now))).rowcount)


class UpstreamSessions(Repository[UpstreamSession]):
    """By which provider sessions of ours began, by the session's id."""

    mapping = UPSTREAM_SESSIONS


class KeptDocuments(Repository[KeptDocument]):
    """Documents of providers by where they were fetched."""

    mapping = KEPT_DOCUMENTS
