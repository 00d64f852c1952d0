"""Signing up with an address and a password: nothing is an account before the address is proven by a mailed link."""

from dataclasses import dataclass, replace
from datetime import timedelta

from idp.crypto.opaque import hash_token, mint_token, same
from idp.crypto.password import PasswordHasher
from idp.domain.clock import Clock
from idp.domain.mail import MailPurpose
from idp.domain.mailed_proof import MailedProof, ProofPurpose
from idp.domain.sign_up import SignUpPolicy
from idp.domain.user import User
from idp.services.accounts import AccountRefused, UserInput, add_user
from idp.services.email_codes import ACR_MAILED, AMR_MAILED
from idp.services.input import Place
from idp.services.mail import Outbox
from idp.services.mailed_proofs import Asked, MailedProofs
from idp.services.password_policy import PasswordPolicy
from idp.services.sessions import Accounts, NewSession
from idp.services.sign_in import SecondFactorDue, SignIn
from idp.services.sign_up import SignUp, close_link
from idp.services.upstream_visits import Onward
from idp.store.errors import Conflict
from idp.store.store import Store, Transaction

LIFETIME = timedelta(hours=24)
METHOD = "sign_up"
_PURPOSE = ProofPurpose.SIGN_UP


class WrongPassword(Exception):
    """Not the password that was chosen when signing up."""


class AccountTaken(Exception):
    """Since then the address, or the invitation, has become somebody's, or the policy another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An account that waits for its address to be proven.

    `here` is whether it was asked for in this browser. Elsewhere the password is asked for: somebody may have signed
    up with another's address, to get into the account that they would make by following the link.
    """

    email: str
    onward: Onward
    here: bool


class SignUpByMail:
    """Takes sign-ups and makes accounts of them."""

    def __init__(
        self,
        store: Store,
        proofs: MailedProofs,
        outbox: Outbox,
        hasher: PasswordHasher,
        policy: PasswordPolicy,
        sign_up: SignUp,
        sign_in: SignIn,
        clock: Clock,
        *,
        issuer: str,
    ) -> None:
        self._store = store
        self._proofs = proofs
        self._outbox = outbox
        self._hasher = hasher
        self._policy = policy
        self._sign_up = sign_up
        self._sign_in = sign_in
        self._clock = clock
        self._issuer = issuer

    @property
    def open(self) -> bool:
        """Whether anybody at all may make an account."""
        return self._sign_up.policy is not SignUpPolicy.CLOSED

    @property
    def domains(self) -> tuple[str, ...]:
        """Whose people may, where that is the policy."""
        return self._sign_up.domains if self._sign_up.policy is SignUpPolicy.DOMAINS else ()

    def offered(self, next_path: str | None) -> bool:
        """Whether the sign-in page shows the way here."""
        return self._sign_up.offered(next_path)

    async def begin(self, *, email: str, name: str, password: str, onward: Onward, browser: str) -> str:
        """Mail what comes next, and return to which address; nobody learns whether there is an account with it.

        Raises:
            AccountRefused: something about it is wrong, whoever's address it is.
            TooManyMails, TooManyRequests: the address, or the network, had its share.
        """
        given = await self._read(email, name, password)
        await self._proofs.limit()
        # For everybody, as all that follows: what is known of an address shows in no duration.
        encoded, token = await self._hasher.hash(password), mint_token()
        asked = Asked(email=given.email or "", onward=onward, more={"name": given.name, "password_hash": encoded})
        async with self._store.write() as tx:
            present = await tx.users.find_by_identifier(asked.email)
            allowed = await self._sign_up.allows_address(tx, asked.email, onward.next_path, now=self._clock())
            await self._proofs.add(tx, _PURPOSE, token, asked, browser=browser, user=None, lifetime=LIFETIME)
            await self._put(tx, asked.email, token, present, allowed=allowed)
        self._outbox.wake()
        return asked.email

    async def pending(self, token: str, *, browser: str | None) -> Pending:
        """Return what the link is about.

        Raises:
            ProofGone: it does not work any more.
        """
        return _pending(*await self._proofs.find(token, _PURPOSE), browser)

    async def finish(
        self, token: str, password: str, *, browser: str | None, accounts: Accounts, user_agent: str | None
    ) -> tuple[User, NewSession | SecondFactorDue | None, Onward]:
        """Make the account, once, and sign in whoever began in this browser.

        Raises:
            ProofGone: the link does not work any more.
            WrongPassword: it was opened elsewhere, and whoever did does not know the password.
            AccountTaken: there is no account to make by now.
        """
        proof, asked = await self._proofs.find(token, _PURPOSE)
        pending, encoded = _pending(proof, asked, browser), str(asked.more["password_hash"])
        if not pending.here and not (await self._hasher.verify(encoded, password)).matches:
            raise WrongPassword
        now, next_path = self._clock(), asked.onward.next_path
        given = UserInput.read({"email": asked.email, "name": asked.more["name"]})
        user = replace(given.user(None, now=now), email_verified=True)
        try:
            async with self._store.write() as tx:
                await self._proofs.use(tx, proof)
                if not await self._sign_up.allows_address(tx, asked.email, next_path, now=now):
                    raise AccountTaken
                await add_user(tx, user, encoded, actor="sign_up", now=now)
                closed = await close_link(tx, user, next_path, now=now)
                if not closed and not await self._sign_up.allows_address(tx, asked.email, next_path, now=now):
                    raise AccountTaken
        except (AccountRefused, Conflict):
            raise AccountTaken from None
        if not pending.here:
            return user, None, asked.onward
        new = await self._sign_in.proceed(
            user,
            method=METHOD,
            acr=ACR_MAILED,
            # What was just shown is the link; the password was typed when signing up.
            amr=AMR_MAILED,
            accounts=accounts,
            browser=browser,
            user_agent=user_agent,
            interaction=None if asked.onward.handle is None else hash_token(asked.onward.handle),
            still=_always,
        )
        return user, new, asked.onward

    async def _read(self, email: str, name: str, password: str) -> UserInput:
        fault = await self._policy.fault(password, personal=(email, name))
        faults: dict[Place, str] = {} if fault is None else {("password",): fault}
        raw = {"email": email, "name": name.strip() or None}
        try:
            given = UserInput.read(raw)
        except AccountRefused as refused:
            raise AccountRefused({**refused.faults, **faults}) from None
        if faults:
            raise AccountRefused(faults)
        return given

    async def _put(self, tx: Transaction, email: str, token: str, present: User | None, *, allowed: bool) -> None:
        to: str | None = email
        purpose, path = MailPurpose.SIGN_UP, f"/verify-email/{token}"
        if present is not None:
            purpose, path = MailPurpose.SIGN_UP_KNOWN, "/login"
            to = email if present.active else None
        elif not allowed:
            purpose, path = MailPurpose.SIGN_UP_REFUSED, "/"
        context = {"url": f"{self._issuer}{path}", "recover_url": f"{self._issuer}/recover"}
        await self._outbox.put(tx, to=to, purpose=purpose, context=context, now=self._clock())


def _pending(proof: MailedProof, asked: Asked, browser: str | None) -> Pending:
    return Pending(email=asked.email, onward=asked.onward, here=browser is not None and same(proof.browser, browser))


async def _always(tx: Transaction) -> bool:
    return True
