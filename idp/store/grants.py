"""Grants, and what hangs on them: codes, refresh tokens and access tokens."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Boolean, Column, ForeignKey, Index, String, Table, Text, and_, func, select, true, update

from idp.domain.client import Client
from idp.domain.consent import LabConsent, covers_labs, narrowed, unasked
from idp.domain.grant import AccessToken, AuthorizationCode, Grant, RefreshToken
from idp.domain.user import User
from idp.store.clients import CLIENTS, clients
from idp.store.columns import Document, Instant, TupleOf, any_of, many, metadata
from idp.store.database import Database
from idp.store.mapping import Mapping
from idp.store.prepared import Prepared
from idp.store.repository import Repository, columns_of
from idp.store.sessions import sessions
from idp.store.users import USERS, users

grants = Table(
    "grants",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("client_id", String(2048), ForeignKey("clients.client_id", ondelete="CASCADE"), nullable=False),
    Column("user_id", String(40), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("session_id", String(64)),
    Column("scope", Text, nullable=False),
    Column("auth_time", Instant, nullable=False),
    Column("auth_time_known", Boolean, nullable=False, server_default=true()),
    Column("acr", String(200), nullable=False),
    Column("amr", TupleOf(), nullable=False),
    Column("nonce", Text),
    Column("claims", Document, nullable=False, server_default="{}"),
    Column("resources", TupleOf(), nullable=False, server_default="[]"),
    Column("labs", Document),
    Column("offline", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)
Index(None, grants.c.user_id)
Index(None, grants.c.client_id)
Index(None, grants.c.session_id)
Index(None, grants.c.expires_at)


def _hangs_on_grant(*, nullable: bool = False) -> Column[Any]:
    return Column("grant_id", String(40), ForeignKey("grants.id", ondelete="CASCADE"), nullable=nullable)


authorization_codes = Table(
    "authorization_codes",
    metadata,
    Column("hash", String(64), primary_key=True),
    _hangs_on_grant(),
    Column("redirect_uri", Text),
    Column("code_challenge", String(128)),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)
Index(None, authorization_codes.c.grant_id)
Index(None, authorization_codes.c.expires_at)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    _hangs_on_grant(),
    Column("scope", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)
Index(None, refresh_tokens.c.grant_id)
Index(None, refresh_tokens.c.expires_at)

# No foreign key to clients: it would lock the client's row for each token; a deleted client is noticed on use.
access_tokens = Table(
    "access_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("jti", String(40), nullable=False),
    _hangs_on_grant(nullable=True),
    Column("client_id", String(2048), nullable=False),
    Column("scope", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("claims", Document, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("revoked_at", Instant),
)
Index(None, access_tokens.c.grant_id)
Index(None, access_tokens.c.expires_at)

GRANTS = Mapping(Grant, grants)
AUTHORIZATION_CODES = Mapping(AuthorizationCode, authorization_codes)
REFRESH_TOKENS = Mapping(RefreshToken, refresh_tokens)
ACCESS_TOKENS = Mapping(AccessToken, access_tokens)

T = TypeVar("T", AuthorizationCode, RefreshToken, AccessToken)


@dataclass(frozen=True, slots=True)
class Issued(Generic[T]):
    """A code or token as it stands now, with its grant and its user; a client's own token has neither.

    `session_ended` says that the browser session in which the user granted it was ended.
    """

    item: T
    grant: Grant | None
    user: User | None
    session_ended: bool = False


def issued_reader(
    database: Database, mapping: Mapping[T]
) -> Callable[[Sequence[str]], Awaitable[dict[str, Issued[T]]]]:
    """Return a reader of many codes or tokens by their hashes, each with its grant and user, in one query."""
    dialect = database.dialect
    table = mapping.table
    columns = [*columns_of(mapping, GRANTS, USERS), sessions.c.ended_at]
    query = (
        select(*columns)
        .select_from(
            table.outerjoin(grants, table.c.grant_id == grants.c.id)
            .outerjoin(users)
            .outerjoin(sessions, sessions.c.id == grants.c.session_id)
        )
        .where(any_of(table.c.hash, "hashes", dialect))
    )
    statement = Prepared(query, database.sqlalchemy_dialect, returns=columns)
    end_of_item = len(mapping.columns)
    end_of_grant = end_of_item + len(GRANTS.columns)

    async def read(hashes: Sequence[str]) -> dict[str, Issued[T]]:
        found: dict[str, Issued[T]] = {}
        for row in await database.lane.fetch(statement, {"hashes": many(hashes, dialect)}):
            item = mapping.from_row(row[:end_of_item])
            found[item.hash] = Issued(
                item=item,
                grant=GRANTS.from_optional_row(row[end_of_item:end_of_grant]),
                user=USERS.from_optional_row(row[end_of_grant:-1]),
                session_ended=row[-1] is not None,
            )
        return found

    return read


@dataclass(frozen=True, slots=True)
class Given:
    """What one user's live grants give one client, and when the first of them was made."""

    client_id: str
    scopes: tuple[str, ...]
    since: datetime


class Grants(Repository[Grant]):
    """Grants by id."""

    mapping = GRANTS

    async def revoke(self, grant_id: str, *, now: datetime) -> bool:
        """Revoke a grant with all that hangs on it; False when it was revoked before."""
        query = update(grants).where(grants.c.id == grant_id, grants.c.revoked_at.is_(None)).values(revoked_at=now)
        return bool((await self.connection.execute(query)).rowcount)

    async def revoke_session(self, session_id: str, *, now: datetime, offline: bool = False) -> int:
        """Revoke what a session gave and return how many grants that were; with `offline` also what outlives it."""
        query = update(grants).where(grants.c.session_id == session_id, grants.c.revoked_at.is_(None))
        if not offline:
            query = query.where(grants.c.offline.is_(False))
        return (await self.connection.execute(query.values(revoked_at=now))).rowcount

    async def clients_of_session(self, session_id: str) -> list[Client]:
        """Return every client that had a grant in a session, whatever became of it, and hold it against deletion."""
        query = select(*CLIENTS.columns).where(
            clients.c.client_id.in_(select(grants.c.client_id).where(grants.c.session_id == session_id))
        )
        held = query.order_by(clients.c.client_id).with_for_update(read=True, key_share=True)
        return [CLIENTS.from_row(row) for row in await self.connection.execute(held)]

    async def revoke_all(self, user_id: str, *, now: datetime) -> int:
        """Revoke everything that a user gave and return how many grants that were."""
        query = update(grants).where(grants.c.user_id == user_id, grants.c.revoked_at.is_(None))
        return (await self.connection.execute(query.values(revoked_at=now))).rowcount

    async def revoke_client(self, user_id: str, client_id: str, *, now: datetime) -> int:
        """Revoke everything that a user gave one client and return how many grants that were."""
        query = update(grants).where(
            grants.c.user_id == user_id, grants.c.client_id == client_id, grants.c.revoked_at.is_(None)
        )
        return (await self.connection.execute(query.values(revoked_at=now))).rowcount

    async def given_by(self, user_id: str, *, now: datetime) -> Sequence[Given]:
        """Return what a user's live grants give, one item for each client."""
        live = and_(grants.c.user_id == user_id, grants.c.revoked_at.is_(None), grants.c.expires_at > now)
        since = func.min(grants.c.created_at)
        query = select(grants.c.client_id, grants.c.scope, since).where(live)
        query = query.group_by(grants.c.client_id, grants.c.scope).order_by(grants.c.client_id, since)
        given: dict[str, Given] = {}
        for client_id, scope, created_at in await self.connection.execute(query):
            held = given.get(client_id, Given(client_id, (), created_at))
            given[client_id] = replace(held, scopes=tuple(dict.fromkeys((*held.scopes, *scope.split()))))
        return list(given.values())

    async def last_used(self, user_id: str) -> dict[str, datetime]:
        """Return for each client when it was last given anything for a user, as far as that is still known."""
        newest = select(grants.c.client_id, func.max(grants.c.created_at), func.max(access_tokens.c.created_at))
        query = newest.outerjoin_from(grants, access_tokens)
        query = query.where(grants.c.user_id == user_id).group_by(grants.c.client_id)
        rows = await self.connection.execute(query)
        return {client_id: max(granted, issued or granted) for client_id, granted, issued in rows}

    async def narrow_labs(self, user_id: str, client_id: str, consent: LabConsent) -> None:
        """Take from what a user gave a client before all that a later consent keeps back about labs."""
        query = self._select().where(grants.c.user_id == user_id, grants.c.client_id == client_id)
        for grant in await self._many(query.where(grants.c.revoked_at.is_(None)).with_for_update(key_share=True)):
            given = unasked(None) if grant.labs is None else grant.labs
            if not covers_labs(consent, given):
                await self.save(replace(grant, labs=narrowed(given, consent)))


class AuthorizationCodes(Repository[AuthorizationCode]):
    """Codes by hash."""

    mapping = AUTHORIZATION_CODES


class RefreshTokens(Repository[RefreshToken]):
    """Refresh tokens by hash."""

    mapping = REFRESH_TOKENS


class AccessTokens(Repository[AccessToken]):
    """Access tokens by hash."""

    mapping = ACCESS_TOKENS

    async def revoke(self, token_hash: str, *, now: datetime) -> bool:
        """Revoke one access token; False when it was revoked before."""
        query = update(access_tokens).where(access_tokens.c.hash == token_hash, access_tokens.c.revoked_at.is_(None))
        return bool((await self.connection.execute(query.values(revoked_at=now))).rowcount)
