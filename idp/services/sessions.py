"""Browser sessions: found by the hash of a random cookie, new at each sign-in, with an idle and an absolute limit."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.audit import AuditAction, AuditEvent
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.domain.session import Session
from idp.domain.upstream import LinkedAccount
from idp.domain.user import User
from idp.services.audit import audit_event, caller_address
from idp.services.backchannel_logout import owe
from idp.store.store import Store, Transaction

# How many people can be signed in in one browser at a time.
MAX_ACCOUNTS = 5
# How long ago somebody may have proved who they are to change how they sign in, or to take all that is kept along.
RECENTLY = timedelta(minutes=5)
# How often it is worth a write to remember that a session is in use.
_TOUCH_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """A session ends `idle` after its last use, and `absolute` after its sign-in."""

    idle: timedelta
    absolute: timedelta


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A browser's session and whose it is."""

    session: Session
    user: User


@dataclass(frozen=True, slots=True)
class NewSession:
    """The cookie of the session that a sign-in began, and who else stays signed in in this browser."""

    cookie: str
    others: tuple[SignedIn, ...]


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who is signed in in one browser: the `active` account, and further ones that may be chosen instead.

    `browser_state` is the value of the cookie that session management watches.
    """

    active: SignedIn | None
    others: tuple[SignedIn, ...] = ()
    browser_state: str | None = None

    @property
    def all(self) -> tuple[SignedIn, ...]:
        """Every account, the active one first."""
        return self.others if self.active is None else (self.active, *self.others)

    def find(self, sid: str) -> SignedIn | None:
        """Return the account with this public session id; None when it is not one of this browser's."""
        return next((account for account in self.all if account.session.id == sid), None)

    def of_user(self, user_id: str) -> SignedIn | None:
        """Return this user's account."""
        return next((account for account in self.all if account.user.id == user_id), None)

    def with_active(self, account: SignedIn) -> Self:
        """Return the same accounts with another one active."""
        others = tuple(other for other in self.all if other.session.id != account.session.id)
        return replace(self, active=account, others=others)

    def without(self, sid: str) -> Self:
        """Return the accounts but one; when that was the active one, none is: nobody becomes somebody unasked."""
        active = None if self.active is None or self.active.session.id == sid else self.active
        return replace(self, active=active, others=tuple(other for other in self.others if other.session.id != sid))


class NotRecent(Exception):
    """The person has to prove again who they are."""


class Sessions:
    """Starts, finds and ends sessions; `on_end` is told after each end that something is owed now."""

    def __init__(
        self, store: Store, clock: Clock, times: SessionTimes, *, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._clock = clock
        self._times = times
        self._on_end = on_end

    async def find(self, cookie: str | None) -> SignedIn | None:
        """Return who is signed in with this cookie; None when nobody is, or the account was disabled."""
        found = await self._find(cookie)
        now = self._clock()
        if found is not None and now - found.session.last_seen_at >= _TOUCH_AFTER:
            async with self._store.write() as tx:
                await tx.sessions.touch(found.session.id, now=now)
        return found

    def is_recent(self, session: Session) -> bool:
        """Whether whoever is signed in has proved who they are a few minutes ago at most."""
        return session.proven_since(self._clock() - RECENTLY)

    async def find_accounts(self, active: str | None, others: Sequence[str], browser_state: str | None) -> Accounts:
        """Return who is signed in with these cookies, each person once.

        The active account counts before another session of the same person, then the newest sign-in. The others are not
        in use: that they are looked at keeps none of them from going idle.
        """
        if not others:
            return Accounts(await self.find(active), browser_state=browser_state)
        signed_in, *found = await asyncio.gather(self.find(active), *map(self._find, others))
        # Of several sessions of one person the last one in this order stays.
        by_age = sorted((account for account in found if account is not None), key=_auth_time)
        newest = {account.user.id: account for account in by_age}
        if signed_in is not None:
            newest.pop(signed_in.user.id, None)
        return Accounts(signed_in, newest_first(newest.values()), browser_state)

    async def of_cookies(self, cookies: Iterable[str]) -> list[Session]:
        """Return the sessions of these cookies, whether they still count or not."""
        found = await asyncio.gather(*(self._store.find_session(hash_token(cookie)) for cookie in cookies))
        return [session for session, _ in filter(None, found)]

    def start(
        self,
        user: User,
        *,
        acr: str,
        amr: tuple[str, ...],
        user_agent: str | None,
        auth_time: datetime | None = None,
        auth_time_known: bool = True,
    ) -> tuple[str, Session]:
        """Return a new cookie and its session, which `begin` saves; never a known cookie's (session fixation).

        `auth_time` is when another provider says that the person signed in there, if that is who vouches for them.
        """
        now = self._clock()
        cookie = mint_token()
        session = Session(
            id=mint_id("s"),
            hash=hash_token(cookie),
            user_id=user.id,
            auth_time=now if auth_time is None else min(now, auth_time),
            auth_time_known=auth_time_known,
            acr=acr,
            amr=amr,
            created_at=now,
            last_seen_at=now,
            expires_at=now + self._times.absolute,
            user_agent=None if user_agent is None else user_agent.replace("\x00", "")[:500],
            address=caller_address.get(),
        )
        return cookie, session

    async def begin(
        self,
        tx: Transaction,
        session: Session,
        *,
        previous: SignedIn | None,
        interaction: str | None,
        **detail: Any,
    ) -> Session:
        """Save a new session, under the `sid` of the same person's `previous` one in this browser, and record it.

        `interaction` is the hash of the authorization request within which this happens, which it then counts for.
        """
        # As it is now: it may have been signed out in another tab meanwhile.
        stored = None if previous is None else await tx.sessions.lock(previous.session.id)
        same = continued(session, stored)
        await (tx.sessions.add(same) if same.id == session.id else tx.sessions.save(same))
        if interaction is not None:
            await tx.interactions.sign_in(interaction, session_id=same.id)
        await tx.audit_events.add(_succeeded(session, same.id, detail))
        return same

    async def begin_at_once(
        self, session: Session, *beside: object, link: LinkedAccount, interaction: str | None, **detail: Any
    ) -> bool:
        """Save and record the first session of a person in this browser as `begin` does, and values `beside` it.

        It costs a fraction of a transaction, and is carried out although the request is given up meanwhile. Returns
        False, with nothing saved, where it takes one: the person is disabled, the link by which they come is gone, or
        either is being changed at this moment.
        """
        event = _succeeded(session, session.id, detail)
        return await self._store.commit.sign_in(
            link, session, event, *beside, session_id=session.id, interaction=interaction
        )

    async def make_room(self, accounts: Accounts, user_id: str, *, now: datetime) -> tuple[SignedIn, ...]:
        """Return the browser's accounts beside this user's; the oldest ends when there are too many."""
        others = newest_first(account for account in accounts.all if account.user.id != user_id)
        for account in others[MAX_ACCOUNTS - 1 :]:
            await self.end(account.session, now=now)
        return others[: MAX_ACCOUNTS - 1]

    async def select(self, account: SignedIn) -> None:
        """Record that somebody chose this account among those of the browser."""
        event = audit_event(
            AuditAction.ACCOUNT_SELECTED, actor=account.user.id, target=account.session.id, now=self._clock()
        )
        await self._store.commit.append(event)

    async def end(self, session: Session, *, now: datetime) -> Sequence[Client]:
        """End a session and what it gave and was not meant to outlive it, and owe its applications the news.

        Returns every client that had a grant in it; nothing when it had ended before.
        """
        async with self._store.write() as tx:
            if not await tx.sessions.end(session.id, now=now):
                return ()
            event = audit_event(AuditAction.LOGOUT, actor=session.user_id, target=session.id, now=now)
            await tx.audit_events.add(event)
            await owe(tx, session.id, session.user_id, now=now)
        # Only now: a grant that is being made at this moment is either seen here, or its code sees the ended session.
        async with self._store.write() as tx:
            await tx.grants.revoke_session(session.id, now=now)
            clients = await owe(tx, session.id, session.user_id, now=now)
        self._on_end()
        return clients

    async def held(self, user: User) -> list[Session]:
        """Return the sessions in which somebody is signed in, the one that was used last first."""
        now = self._clock()
        async with self._store.read() as tx:
            found = await tx.sessions.of_user(user.id)
        return sorted((session for session in found if self._lives(session, now)), key=_last_seen, reverse=True)

    async def end_others(self, signed_in: SignedIn, *, now: datetime) -> None:
        """End whatever other sessions a person has, in this browser and elsewhere, with all that they gave."""
        async with self._store.read() as tx:
            held = await tx.sessions.of_user(signed_in.user.id)
        for session in held:
            if session.id != signed_in.session.id:
                await self.end(session, now=now)
        async with self._store.write() as tx:
            for session in held:
                if session.id != signed_in.session.id:
                    await tx.grants.revoke_session(session.id, now=now, offline=True)

    async def _find(self, cookie: str | None) -> SignedIn | None:
        if not cookie:
            return None
        found = await self._store.find_session(hash_token(cookie))
        if found is None:
            return None
        session, user = found
        now = self._clock()
        if not self._lives(session, now) or not user.active:
            return None
        return SignedIn(session, user)

    def _lives(self, session: Session, now: datetime) -> bool:
        return session.valid(now=now) and now < session.last_seen_at + self._times.idle


def _succeeded(session: Session, sid: str, detail: Mapping[str, Any]) -> AuditEvent:
    return audit_event(
        AuditAction.LOGIN_SUCCEEDED,
        actor=session.user_id,
        target=sid,
        now=session.created_at,
        amr=list(session.amr),
        **detail,
    )


async def end_all_sessions(tx: Transaction, user_id: str, *, now: datetime) -> None:
    """End every session of a user, and owe the applications the news, all in the caller's transaction.

    Sign-ins that wait for a second factor end as well: what proved the first one may count no more.
    """
    await tx.pending_sign_ins.delete_of(user_id)
    for sid in await tx.sessions.end_all(user_id, now=now):
        await owe(tx, sid, user_id, now=now)


def newest_first(accounts: Iterable[SignedIn]) -> tuple[SignedIn, ...]:
    """Return accounts in the order of their sign-ins, the last one first."""
    return tuple(sorted(accounts, key=_auth_time, reverse=True))


def _last_seen(session: Session) -> datetime:
    return session.last_seen_at


def _auth_time(account: SignedIn) -> datetime:
    return account.session.auth_time


def continued(session: Session, previous: Session | None) -> Session:
    """Return the session under the `sid` of the same user's previous one, so that applications see one sign-in.

    Re-authentication replaces the cookie, not the session: what hangs on it stays signed in. What was signed out stays
    so, however late somebody comes back with its cookie.
    """
    if previous is None or previous.user_id != session.user_id or previous.ended_at is not None:
        return session
    return replace(session, id=previous.id, created_at=previous.created_at)
