"""What follows a proof of who somebody is: a session, in one transaction with a last look at the proof."""

from collections.abc import Awaitable, Callable

from idp.domain.user import User
from idp.observe.metrics import Metrics
from idp.services.sessions import Accounts, NewSession, Sessions
from idp.store.store import Store, Transaction

# Looks at the proof again, in the transaction that begins the session, and may use it up there. What it wrote before it
# returns False stays written.
StillProven = Callable[[Transaction], Awaitable[bool]]


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
        user_agent: str | None,
        interaction: str | None,
        still: StillProven,
    ) -> NewSession | None:
        """Sign in beside the browser's other accounts, of which the oldest ends when there are too many.

        Whoever is one of them already keeps the session under its `sid`, with a new cookie. `method` is the way in, for
        the metrics; `interaction` the hash of the authorization request within which this happens, which it then counts
        for. Returns None where the account was disabled or the proof is none any more.
        """
        cookie, session = self._sessions.start(user, acr=acr, amr=amr, user_agent=user_agent)
        async with self._store.write() as tx:
            present = await tx.users.lock(user.id)
            if not present.active or not await still(tx):
                return None
            await self._sessions.begin(tx, session, previous=accounts.of_user(user.id), interaction=interaction)
        self._metrics.login(method, "succeeded")
        return NewSession(cookie, await self._sessions.make_room(accounts, user.id, now=session.created_at))
