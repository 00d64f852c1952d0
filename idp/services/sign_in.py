"""What follows a proof of who somebody is: a session, in one transaction with a last look at the proof."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from idp.crypto.opaque import hash_token, mint_token
from idp.domain.acr import ACR_TWO_FACTORS, reaches
from idp.domain.second_factor import PendingSignIn
from idp.domain.user import User
from idp.observe.metrics import Metrics
from idp.services.sessions import Accounts, NewSession, Sessions
from idp.store.store import Store, Transaction

# Looks at the proof again, in the transaction that begins the session, and may use it up there. What it wrote before it
# returns False stays written.
StillProven = Callable[[Transaction], Awaitable[bool]]

# How long somebody may look for their second factor.
PENDING_LIFETIME = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class SecondFactorDue:
    """The first factor was proven, and no session begun: `handle` is of the page that asks for the second one."""

    handle: str = field(repr=False)


class SignIn:
    """Signs in whoever proved who they are by something that this server checks."""

    def __init__(self, store: Store, sessions: Sessions, metrics: Metrics) -> None:
        self._store = store
        self._sessions = sessions
        self._metrics = metrics

    async def proceed(
        self,
        user: User,
        *,
        method: str,
        acr: str,
        amr: tuple[str, ...],
        accounts: Accounts,
        browser: str | None,
        user_agent: str | None,
        interaction: str | None,
        still: StillProven,
    ) -> NewSession | SecondFactorDue | None:
        """Sign in beside the browser's other accounts, of which the oldest ends when there are too many.

        Whoever is one of them already keeps the session under its `sid`, with a new cookie. `method` is the way in, for
        the metrics; `interaction` the hash of the authorization request within which this happens, which it then counts
        for. Whoever has a second factor, and did not prove two already, is asked for it first, in the same `browser`:
        the hash of its form cookie. Returns None where the account was disabled or the proof is none any more.
        """
        cookie, session = self._sessions.start(user, acr=acr, amr=amr, user_agent=user_agent)
        async with self._store.write() as tx:
            present = await tx.users.lock(user.id)
            if not present.active or not await still(tx):
                return None
            if not reaches(acr, ACR_TWO_FACTORS) and await has_second_factor(tx, user.id):
                handle = mint_token()
                pending = PendingSignIn(
                    hash=hash_token(handle),
                    user_id=user.id,
                    # Without a cookie there is no browser that could go on.
                    browser=browser or "",
                    method=method,
                    acr=acr,
                    amr=amr,
                    interaction=interaction,
                    created_at=session.created_at,
                    expires_at=session.created_at + PENDING_LIFETIME,
                )
                await tx.pending_sign_ins.add(pending)
                return SecondFactorDue(handle)
            await self._sessions.begin(tx, session, previous=accounts.of_user(user.id), interaction=interaction)
        return await self.begun(method, cookie, accounts, user, now=session.created_at)

    async def begun(self, method: str, cookie: str, accounts: Accounts, user: User, *, now: datetime) -> NewSession:
        """Count a sign-in whose session was begun, and make room for it among the browser's accounts."""
        self._metrics.login(method, "succeeded")
        return NewSession(cookie, await self._sessions.make_room(accounts, user.id, now=now))


async def has_second_factor(tx: Transaction, user_id: str) -> bool:
    """Whether somebody is to be asked for a second factor; every kind of them is looked for here."""
    return await tx.totps.find(user_id) is not None
