"""Changing one's own password, or setting a first one, after a sign-in of the last minutes."""

from datetime import datetime

from idp.crypto.password import PasswordHasher
from idp.crypto.password_strength import Strength
from idp.domain.clock import Clock
from idp.domain.credential import CredentialKind
from idp.domain.mail import MailPurpose
from idp.domain.user import User
from idp.services.accounts import put_password
from idp.services.mail import Outbox
from idp.services.password_policy import PasswordPolicy, personal_words
from idp.services.sessions import NotRecent, Sessions, SignedIn
from idp.store.store import Store, Transaction


class PasswordChange:
    """Sets the password of who is signed in."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        outbox: Outbox,
        hasher: PasswordHasher,
        policy: PasswordPolicy,
        clock: Clock,
        *,
        issuer: str,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._outbox = outbox
        self._hasher = hasher
        self._policy = policy
        self._clock = clock
        self._issuer = issuer

    async def has_password(self, user: User) -> bool:
        """Whether there is one to change."""
        async with self._store.read() as tx:
            return await tx.credentials.find_of(user.id, CredentialKind.PASSWORD) is not None

    async def change(self, signed_in: SignedIn, password: str, *, end_others: bool) -> Strength:
        """Set a new password and return how strong it is; with `end_others` the person's other sessions end.

        Raises:
            NotRecent: who is signed in has to prove it first.
            AccountRefused: the password may not be used.
        """
        if not self._sessions.is_recent(signed_in.session):
            raise NotRecent
        strength = await self._policy.check(password, personal=personal_words(signed_in.user))
        encoded = await self._hasher.hash(password)
        async with self._store.write() as tx:
            now = self._clock()
            user = await tx.users.lock(signed_in.user.id)
            session = await tx.sessions.get(signed_in.session.id)
            if not user.active or not session.valid(now=now):
                # Signed out elsewhere, or disabled, while the hash was computed.
                raise NotRecent
            await put_password(tx, user, encoded, actor=user.id, now=now)
            await tell_of_change(tx, self._outbox, user, issuer=self._issuer, now=now)
        self._outbox.wake()
        if end_others:
            await self._sessions.end_others(signed_in, now=now)
        return strength


async def tell_of_change(tx: Transaction, outbox: Outbox, user: User, *, issuer: str, now: datetime) -> None:
    """Let a person know by mail that their password changed: if it was not them, they have to hear of it."""
    if user.email is not None:
        context = {"at": now, "url": f"{issuer}/recover"}
        await outbox.put(tx, to=user.email, purpose=MailPurpose.PASSWORD_CHANGED, context=context, now=now)
