"""Getting back in with a mailed link that sets a new password; a second factor stays what it is."""

from datetime import timedelta

from idp.crypto.opaque import mint_token
from idp.crypto.password import PasswordHasher
from idp.crypto.password_strength import Strength
from idp.domain.clock import Clock
from idp.domain.credential import CredentialKind
from idp.domain.mail import MailPurpose
from idp.domain.mailed_proof import ProofPurpose
from idp.domain.user import User
from idp.services.accounts import put_password
from idp.services.mail import Outbox
from idp.services.mailed_proofs import AddressInput, Asked, MailedProofs, ProofGone, find_reached, verify_address
from idp.services.password_change import tell_of_change
from idp.services.password_policy import PasswordPolicy, personal_words
from idp.services.providers import Providers
from idp.services.sessions import end_all_sessions
from idp.services.upstream_visits import Onward
from idp.store.store import Store, Transaction

LIFETIME = timedelta(hours=1)
_PURPOSE = ProofPurpose.RECOVERY


class Recovery:
    """Mails links and takes new passwords; `on_end` is told that sessions ended."""

    def __init__(
        self,
        store: Store,
        proofs: MailedProofs,
        outbox: Outbox,
        hasher: PasswordHasher,
        policy: PasswordPolicy,
        providers: Providers,
        clock: Clock,
        *,
        issuer: str,
    ) -> None:
        self._store = store
        self._proofs = proofs
        self._outbox = outbox
        self._hasher = hasher
        self._policy = policy
        self._providers = providers
        self._clock = clock
        self._issuer = issuer

    async def begin(self, email: str, onward: Onward, *, browser: str) -> str:
        """Mail what helps, and return to which address; nobody learns whether there is an account with it.

        Raises:
            InputRefused: it is no address.
            TooManyMails, TooManyRequests: the address, or the network, had its share.
        """
        email = AddressInput.read({"email": email}).email
        await self._proofs.limit()
        token, shown = mint_token(), {each.issuer: each.display_name for each in await self._providers.shown()}
        asked = Asked(email=email, onward=onward, more={})
        async with self._store.write() as tx:
            user = await find_reached(tx, email)
            user_id = "" if user is None else user.id
            password = await tx.credentials.find_of(user_id, CredentialKind.PASSWORD)
            linked = await tx.linked_accounts.of_user(user_id)
            ways = sorted({shown[each.issuer] for each in linked if each.issuer in shown})
            elsewhere = password is None and bool(ways)
            await self._proofs.add(
                tx, _PURPOSE, token, asked, browser=browser, user=None if elsewhere else user, lifetime=LIFETIME
            )
            await self._put(tx, None if user is None else email, token, ways if elsewhere else [])
        self._outbox.wake()
        return email

    async def whose(self, token: str) -> User:
        """Return whose password the link sets.

        Raises:
            ProofGone: it does not work any more.
        """
        proof, asked = await self._proofs.find(token, _PURPOSE)
        async with self._store.read() as tx:
            user = await tx.users.find(proof.user_id or "")
        if user is None or not user.active or user.email != asked.email:
            raise ProofGone
        return user

    async def finish(self, token: str, password: str) -> tuple[Strength, Onward]:
        """Set a new password, once; every session and token ends. Returns how strong it is.

        Raises:
            ProofGone: the link does not work any more.
            AccountRefused: the password may not be used; the link still works.
        """
        user = await self.whose(token)
        strength = await self._policy.check(password, personal=personal_words(user))
        encoded = await self._hasher.hash(password)
        now = self._clock()
        async with self._store.write() as tx:
            present = await tx.users.lock(user.id)
            proof, asked = await self._proofs.lock(tx, token, _PURPOSE)
            if not present.active or present.email != asked.email or proof.user_id != present.id:
                raise ProofGone
            await self._proofs.use(tx, proof)
            present = await verify_address(tx, present, now=now)
            await put_password(tx, present, encoded, actor=present.id, now=now)
            await end_all_sessions(tx, present.id, now=now)
            await tell_of_change(tx, self._outbox, present, issuer=self._issuer, now=now)
        self._outbox.wake()
        # Only now: a grant that is being made at this moment is either seen here, or its code sees the ended session.
        async with self._store.write() as tx:
            await tx.grants.revoke_all(user.id, now=now)
        return strength, asked.onward

    async def _put(self, tx: Transaction, to: str | None, token: str, ways: list[str]) -> None:
        purpose, path = MailPurpose.RECOVERY, f"/recover/{token}"
        if ways:
            purpose, path = MailPurpose.RECOVERY_ELSEWHERE, "/login"
        context = {"url": f"{self._issuer}{path}", "provider": ", ".join(ways)}
        await self._outbox.put(tx, to=to, purpose=purpose, context=context, now=self._clock())
