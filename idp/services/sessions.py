"""Browser sessions: found by the hash of a random cookie, new at each sign-in, with an idle and an absolute limit."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from idp.crypto.opaque import hash_token, mint_id, mint_token
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.session import Session
from idp.domain.user import User
from idp.services.audit import audit_event, caller_address
from idp.store.store import Store

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


class Sessions:
    """Starts, finds and ends sessions."""

    def __init__(self, store: Store, clock: Clock, times: SessionTimes) -> None:
        self._store = store
        self._clock = clock
        self._times = times

    async def find(self, cookie: str | None) -> SignedIn | None:
        """Return who is signed in with this cookie; None when nobody is, or the account was disabled."""
        if not cookie:
            return None
        found = await self._store.find_session(hash_token(cookie))
        if found is None:
            return None
        session, user = found
        now = self._clock()
        if not session.valid(now=now) or now >= session.last_seen_at + self._times.idle or not user.active:
            return None
        if now - session.last_seen_at >= _TOUCH_AFTER:
            async with self._store.write() as tx:
                await tx.sessions.touch(session.id, now=now)
        return SignedIn(session, user)

    async def find_by_id(self, sid: str) -> Session | None:
        """Return a session by its public id, whether it still counts or not."""
        async with self._store.read() as tx:
            return await tx.sessions.find(sid)

    def start(self, user: User, *, acr: str, amr: tuple[str, ...], user_agent: str | None) -> tuple[str, Session]:
        """Return a new cookie and its session, which the caller saves; never a known cookie's (session fixation)."""
        now = self._clock()
        cookie = mint_token()
        session = Session(
            id=mint_id("s"),
            hash=hash_token(cookie),
            user_id=user.id,
            auth_time=now,
            acr=acr,
            amr=amr,
            created_at=now,
            last_seen_at=now,
            expires_at=now + self._times.absolute,
            user_agent=None if user_agent is None else user_agent.replace("\x00", "")[:500],
            address=caller_address.get(),
        )
        return cookie, session

    async def end(self, session: Session, *, now: datetime) -> None:
        """End a session and what it gave and was not meant to outlive it."""
        async with self._store.write() as tx:
            if not await tx.sessions.end(session.id, now=now):
                return
            event = audit_event(AuditAction.LOGOUT, actor=session.user_id, target=session.id, now=now)
            await tx.audit_events.add(event)
        # Only now: a grant that is being made at this moment is either seen here, or its code sees the ended session.
        async with self._store.write() as tx:
            await tx.grants.revoke_session(session.id, now=now)


def continued(session: Session, previous: Session | None) -> Session:
    """Return the session under the `sid` of the same user's previous one, so that applications see one sign-in.

    Re-authentication replaces the cookie, not the session: what hangs on it stays signed in.
    """
    if previous is None or previous.user_id != session.user_id:
        return session
    return replace(session, id=previous.id, created_at=previous.created_at)
