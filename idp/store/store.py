"""The store as services see it: `read()` and `write()` with every repository, and the two fast lanes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from idp.domain.client import Client
from idp.domain.consent import Consent
from idp.domain.grant import AccessToken, AuthorizationCode, RefreshToken
from idp.domain.lab import LabMembership
from idp.domain.session import Session
from idp.domain.upstream import LinkedAccount, UpstreamVisit
from idp.domain.user import User
from idp.store.audit import AuditEvents
from idp.store.clients import CLIENTS, Clients, clients
from idp.store.coalesce import Coalesce
from idp.store.columns import any_of, many
from idp.store.consents import CONSENTS, Consents, consents
from idp.store.database import Database
from idp.store.grants import (
    ACCESS_TOKENS,
    AUTHORIZATION_CODES,
    REFRESH_TOKENS,
    AccessTokens,
    AuthorizationCodes,
    Grants,
    Issued,
    RefreshTokens,
    access_tokens,
    authorization_codes,
    grants,
    issued_reader,
    refresh_tokens,
)
from idp.store.group_commit import GroupCommit
from idp.store.interactions import Interactions, interactions
from idp.store.invitations import Invitations, JoinRequests, invitations
from idp.store.lab_grants import LabGrants
from idp.store.labs import LABS, MEMBERSHIPS, Labs, Memberships, lab_membership, labs, memberships
from idp.store.logos import LabLogos, Logos
from idp.store.logout import LogoutDeliveries, logout_deliveries
from idp.store.mailed_proofs import MailedProofs, mailed_proofs
from idp.store.mails import Mails, mails
from idp.store.mapping import Mapping
from idp.store.members import Members
from idp.store.one_time_links import OneTimeLinks, one_time_links
from idp.store.prepared import Prepared
from idp.store.providers import LabDepartures, LabRules, Providers
from idp.store.refusals import Refusals, refusals
from idp.store.registration import InitialAccessTokens, initial_access_tokens
from idp.store.repository import columns_of
from idp.store.resources import Resources
from idp.store.second_factors import PendingSignIns, RecoveryCodes, Totps, pending_sign_ins
from idp.store.seen_tokens import SeenTokens, seen_tokens
from idp.store.sessions import SESSIONS, Sessions, sessions
from idp.store.signing_keys import DataKeys, Installations, SigningKeys
from idp.store.upstream import (
    LINKED_ACCOUNTS,
    UPSTREAM_VISITS,
    KeptDocuments,
    LinkedAccounts,
    UpstreamSessions,
    UpstreamVisits,
    kept_documents,
    linked_accounts,
    upstream_visits,
)
from idp.store.users import USERS, Credentials, Users, users

_CLOCK: dict[str, ColumnElement[Any]] = {
    "postgresql": func.clock_timestamp(),
    # Julian days to Unix seconds, with their fraction; unixepoch('subsec') is too new for some systems.
    "sqlite": literal_column("(julianday('now') - 2440587.5) * 86400.0"),
}

# What hangs on a grant or a user goes with it; children stand first, so that big cascades are rare.
_EXPIRING = (
    access_tokens,
    refresh_tokens,
    authorization_codes,
    interactions,
    grants,
    sessions,
    one_time_links,
    initial_access_tokens,
    logout_deliveries,
    mails,
    refusals,
    seen_tokens,
    invitations,
    upstream_visits,
    kept_documents,
    pending_sign_ins,
    mailed_proofs,
)
# These explain nothing once they have expired: requests anybody can send, and what only guards against a repetition.
_GONE_AT_ONCE = frozenset({interactions, refusals, seen_tokens, upstream_visits, kept_documents, pending_sign_ins})


class Transaction:
    """Every repository over one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.users = Users(connection)
        self.credentials = Credentials(connection)
        self.labs = Labs(connection)
        self.memberships = Memberships(connection)
        self.members = Members(connection)
        self.clients = Clients(connection)
        self.sessions = Sessions(connection)
        self.consents = Consents(connection)
        self.interactions = Interactions(connection)
        self.grants = Grants(connection)
        self.authorization_codes = AuthorizationCodes(connection)
        self.refresh_tokens = RefreshTokens(connection)
        self.access_tokens = AccessTokens(connection)
        self.signing_keys = SigningKeys(connection)
        self.data_keys = DataKeys(connection)
        self.installations = Installations(connection)
        self.one_time_links = OneTimeLinks(connection)
        self.audit_events = AuditEvents(connection)
        self.resources = Resources(connection)
        self.initial_access_tokens = InitialAccessTokens(connection)
        self.refusals = Refusals(connection)
        self.logout_deliveries = LogoutDeliveries(connection)
        self.mails = Mails(connection)
        self.mailed_proofs = MailedProofs(connection)
        self.logos = Logos(connection)
        self.lab_logos = LabLogos(connection)
        self.seen_tokens = SeenTokens(connection)
        self.invitations = Invitations(connection)
        self.join_requests = JoinRequests(connection)
        self.lab_grants = LabGrants(connection)
        self.providers = Providers(connection)
        self.lab_rules = LabRules(connection)
        self.lab_departures = LabDepartures(connection)
        self.linked_accounts = LinkedAccounts(connection)
        self.upstream_visits = UpstreamVisits(connection)
        self.upstream_sessions = UpstreamSessions(connection)
        self.kept_documents = KeptDocuments(connection)
        self.totps = Totps(connection)
        self.recovery_codes = RecoveryCodes(connection)
        self.pending_sign_ins = PendingSignIns(connection)

    async def delete_expired(self, *, now: datetime, before: datetime, limit: int) -> int:
        """Delete up to `limit` rows of each kind that expired before a time, and return how many those were."""
        deleted = 0
        for table in _EXPIRING:
            (key,) = table.primary_key.columns
            end = now if table in _GONE_AT_ONCE else before
            expired = select(key).where(table.c.expires_at < end).limit(limit)
            deleted += (await self._connection.execute(delete(table).where(key.in_(expired)))).rowcount
        return deleted


class Store:
    """Durable state.

    `commit` appends and consumes in group commits; the `find_*` methods are coalesced point reads that see everything
    committed before they were called. Both are for requests; `read()` and `write()` are for everything else.
    """

    def __init__(self, database: Database, *, on_flush: Callable[[int], None] = lambda size: None) -> None:
        self.database = database
        self.commit = GroupCommit(database, on_flush=on_flush)
        self._access_tokens = Coalesce(issued_reader(database, ACCESS_TOKENS))
        self._refresh_tokens = Coalesce(issued_reader(database, REFRESH_TOKENS))
        self._authorization_codes = Coalesce(issued_reader(database, AUTHORIZATION_CODES))
        self._memberships = Coalesce(self._memberships_reader())
        self._sessions = Coalesce(self._sessions_reader())
        self._sessions_by_id = Coalesce(self._sessions_by_id_reader())
        self._clients = Coalesce(self._clients_reader())
        self._consents = Coalesce(self._consents_reader())
        self._upstream_visits = Coalesce(self._upstream_visits_reader())
        self._linked_accounts = Coalesce(self._linked_accounts_reader())
        self._coalesced: Sequence[Coalesce[Any]] = (
            self._access_tokens,
            self._refresh_tokens,
            self._authorization_codes,
            self._memberships,
            self._sessions,
            self._sessions_by_id,
            self._clients,
            self._consents,
            self._upstream_visits,
            self._linked_accounts,
        )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Open the repositories for reading."""
        async with self.database.read() as connection:
            yield Transaction(connection)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Open the repositories in one transaction, committed at the end of the block."""
        async with self.database.write() as connection:
            yield Transaction(connection)

    async def find_access_token(self, hash: str) -> Issued[AccessToken] | None:
        """Return an access token with its grant and user."""
        return await self._access_tokens.find(hash)

    async def find_refresh_token(self, hash: str) -> Issued[RefreshToken] | None:
        """Return a refresh token with its grant and user."""
        return await self._refresh_tokens.find(hash)

    async def find_authorization_code(self, hash: str) -> Issued[AuthorizationCode] | None:
        """Return a code with its grant and user."""
        return await self._authorization_codes.find(hash)

    async def find_memberships(self, user_id: str) -> Sequence[LabMembership]:
        """Return a user's memberships, whether valid now or not, in the order of the labs' slugs."""
        return await self._memberships.find(user_id) or ()

    async def find_lab_grants(self, client_id: str) -> Sequence[LabMembership]:
        """Return what labs gave to a service, whether valid now or not, in the order of the labs' slugs."""
        async with self.read() as tx:
            return await tx.lab_grants.of_client(client_id)

    async def find_session(self, hash: str) -> tuple[Session, User] | None:
        """Return a browser session and its user by the hash of its cookie."""
        return await self._sessions.find(hash)

    async def find_session_by_id(self, sid: str) -> Session | None:
        """Return a browser session by its public id, whether it still counts or not."""
        return await self._sessions_by_id.find(sid)

    async def find_client(self, client_id: str) -> Client | None:
        """Return a client."""
        return await self._clients.find(client_id)

    async def find_consent(self, user_id: str, client_id: str) -> Consent | None:
        """Return what a user agreed to give a client."""
        return await self._consents.find(_pair(user_id, client_id))

    async def find_upstream_visit(self, hash: str) -> UpstreamVisit | None:
        """Return a sign-in at another provider that is under way, or was."""
        return await self._upstream_visits.find(hash)

    async def find_linked_account(self, issuer: str, sub: str) -> tuple[LinkedAccount, User] | None:
        """Return an account at another provider with its user (OpenID Connect Core §5.7)."""
        return await self._linked_accounts.find(_pair(issuer, sub))

    async def now(self) -> datetime:
        """Return the database's time, which also shows that it answers.

        Raises:
            Unavailable: it does not.
        """
        async with self.database.read() as connection:
            told = (await connection.execute(select(_CLOCK[self.database.dialect]))).scalar_one()
        return told if isinstance(told, datetime) else datetime.fromtimestamp(told, UTC)

    async def close(self) -> None:
        """Finish what was accepted and close the database."""
        await self.commit.close()
        for coalesce in self._coalesced:
            await coalesce.close()
        await self.database.close()

    def _reader(
        self, query: Select[Any], column: ColumnElement[str], *mappings: Mapping[Any]
    ) -> Callable[[Sequence[str]], Awaitable[list[Sequence[Any]]]]:
        """Return a reader of the rows whose column is one of many values."""
        dialect = self.database.dialect
        chosen = query.where(any_of(column, "keys", dialect))
        statement = Prepared(chosen, self.database.sqlalchemy_dialect, returns=columns_of(*mappings))

        async def read(keys: Sequence[str]) -> list[Sequence[Any]]:
            return await self.database.lane.fetch(statement, {"keys": many(keys, dialect)})

        return read

    def _memberships_reader(self) -> Callable[[Sequence[str]], Awaitable[dict[str, list[LabMembership]]]]:
        query = select(*columns_of(LABS, MEMBERSHIPS)).join_from(labs, memberships).order_by(labs.c.slug)
        read_rows = self._reader(query, memberships.c.user_id, LABS, MEMBERSHIPS)

        async def read(user_ids: Sequence[str]) -> dict[str, list[LabMembership]]:
            found: dict[str, list[LabMembership]] = {}
            for row in await read_rows(user_ids):
                held = lab_membership(row)
                found.setdefault(held.membership.user_id, []).append(held)
            return found

        return read

    def _sessions_reader(self) -> Callable[[Sequence[str]], Awaitable[dict[str, tuple[Session, User]]]]:
        query = select(*columns_of(SESSIONS, USERS)).join_from(sessions, users)
        read_rows = self._reader(query, sessions.c.hash, SESSIONS, USERS)
        width = len(SESSIONS.columns)

        async def read(hashes: Sequence[str]) -> dict[str, tuple[Session, User]]:
            rows = await read_rows(hashes)
            pairs = [(SESSIONS.from_row(row[:width]), USERS.from_row(row[width:])) for row in rows]
            return {session.hash: (session, user) for session, user in pairs}

        return read

    def _sessions_by_id_reader(self) -> Callable[[Sequence[str]], Awaitable[dict[str, Session]]]:
        read_rows = self._reader(select(*SESSIONS.columns), sessions.c.id, SESSIONS)

        async def read(sids: Sequence[str]) -> dict[str, Session]:
            return {session.id: session for session in map(SESSIONS.from_row, await read_rows(sids))}

        return read

    def _clients_reader(self) -> Callable[[Sequence[str]], Awaitable[dict[str, Client]]]:
        read_rows = self._reader(select(*CLIENTS.columns), clients.c.client_id, CLIENTS)

        async def read(client_ids: Sequence[str]) -> dict[str, Client]:
            return {client.client_id: client for client in map(CLIENTS.from_row, await read_rows(client_ids))}

        return read

    def _upstream_visits_reader(self) -> Callable[[Sequence[str]], Awaitable[dict[str, UpstreamVisit]]]:
        read_rows = self._reader(select(*UPSTREAM_VISITS.columns), upstream_visits.c.hash, UPSTREAM_VISITS)

        async def read(hashes: Sequence[str]) -> dict[str, UpstreamVisit]:
            return {visit.hash: visit for visit in map(UPSTREAM_VISITS.from_row, await read_rows(hashes))}

        return read

    def _linked_accounts_reader(self) -> Callable[[Sequence[str]], Awaitable[dict[str, tuple[LinkedAccount, User]]]]:
        dialect = self.database.dialect
        query = select(*columns_of(LINKED_ACCOUNTS, USERS)).join_from(linked_accounts, users)
        # More pairs than were asked for, as with consents.
        query = query.where(
            any_of(linked_accounts.c.issuer, "issuers", dialect), any_of(linked_accounts.c.sub, "subs", dialect)
        )
        returns = columns_of(LINKED_ACCOUNTS, USERS)
        statement = Prepared(query, self.database.sqlalchemy_dialect, returns=returns)
        width = len(LINKED_ACCOUNTS.columns)

        async def read(keys: Sequence[str]) -> dict[str, tuple[LinkedAccount, User]]:
            issuers, subs = zip(*(key.split(" ", 1) for key in keys), strict=True)
            values = {"issuers": many(tuple(set(issuers)), dialect), "subs": many(subs, dialect)}
            rows = await self.database.lane.fetch(statement, values)
            pairs = [(LINKED_ACCOUNTS.from_row(row[:width]), USERS.from_row(row[width:])) for row in rows]
            return {_pair(linked.issuer, linked.sub): (linked, user) for linked, user in pairs}

        return read

    def _consents_reader(self) -> Callable[[Sequence[str]], Awaitable[dict[str, Consent]]]:
        dialect = self.database.dialect
        # Any of the users with any of the clients: more pairs than were asked for, of which each takes its own.
        query = select(*CONSENTS.columns).where(
            any_of(consents.c.user_id, "user_ids", dialect), any_of(consents.c.client_id, "client_ids", dialect)
        )
        statement = Prepared(query, self.database.sqlalchemy_dialect, returns=CONSENTS.columns)

        async def read(keys: Sequence[str]) -> dict[str, Consent]:
            user_ids, client_ids = zip(*(key.split(" ", 1) for key in keys), strict=True)
            values = {"user_ids": many(user_ids, dialect), "client_ids": many(tuple(set(client_ids)), dialect)}
            found = map(CONSENTS.from_row, await self.database.lane.fetch(statement, values))
            return {_pair(consent.user_id, consent.client_id): consent for consent in found}

        return read


def _pair(first: str, second: str) -> str:
    # The first is a user's id or an issuer, which hold no space.
    return f"{first} {second}"
