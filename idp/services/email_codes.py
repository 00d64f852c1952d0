"""Signing in with a code that is mailed: six digits, five attempts, ten minutes, for the browser that asked."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from idp.crypto.opaque import hash_token, mac, mint_token, same
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.mail import MailPurpose
from idp.domain.mailed_proof import CODE_LIFETIME, MailedProof, ProofPurpose
from idp.observe.metrics import Metrics
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.login import ACR_PASSWORD
from idp.services.mail import Outbox
from idp.services.mailed_proofs import AddressInput, Asked, MailedProofs, ProofGone, find_reached, verify_address
from idp.services.sessions import Accounts, NewSession
from idp.services.sign_in import SecondFactorDue, SignIn
from idp.services.upstream_visits import Onward
from idp.store.store import Store, Transaction

# RFC 8176 §2 has `sms` for codes to a telephone and no word for mail; a password that works once is what `otp` says.
# It is one factor: neither `mfa` nor `mca`, and no stronger than a password.
AMR_MAILED = ("otp",)
ACR_MAILED = ACR_PASSWORD
METHOD = "email_code"
_DIGITS = 6
_PURPOSE = ProofPurpose.SIGN_IN


class WrongCode(Exception):
    """Not the code, for whatever reason; `attempts_left` is told."""

    def __init__(self, attempts_left: int) -> None:
        super().__init__()
        self.attempts_left = attempts_left


class TooSoon(Exception):
    """The last code was sent a moment ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What the page tells while a code is on its way; `resend_in_seconds` is nought where it may be sent anew."""

    email: str
    onward: Onward
    attempts_left: int
    resend_in_seconds: int


class EmailCodes:
    """Mails codes and checks them."""

    def __init__(
        self,
        store: Store,
        keys: DataKeys,
        proofs: MailedProofs,
        outbox: Outbox,
        sign_in: SignIn,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._keys = keys
        self._proofs = proofs
        self._outbox = outbox
        self._sign_in = sign_in
        self._clock = clock
        self._metrics = metrics

    async def begin(self, email: str, onward: Onward, *, browser: str, accounts: Accounts) -> str:
        """Mail a code, and return the handle of the page that takes it; nobody learns whether anything was mailed.

        Raises:
            InputRefused: it is no address.
            TooManyMails, TooManyRequests: the address, or the network, had its share.
        """
        email = AddressInput.read({"email": email}).email
        await self._proofs.limit()
        handle, code = mint_token(), _mint_code()
        asked = Asked(email=email, onward=onward, more={})
        async with self._store.write() as tx:
            user = await find_reached(tx, email, signed_in=_is_in(accounts, email))
            await self._proofs.add(
                tx,
                _PURPOSE,
                handle,
                asked,
                browser=browser,
                user=user,
                lifetime=CODE_LIFETIME,
                secret=self._secret(handle, code),
            )
            await self._put(tx, None if user is None else email, code)
        self._outbox.wake()
        return handle

    async def waiting(self, handle: str, *, browser: str | None) -> Waiting:
        """Return what its page tells.

        Raises:
            ProofGone: no code of this browser is expected there.
        """
        proof, asked = await self._proofs.find(handle, _PURPOSE)
        _check_browser(proof, browser)
        return self._waiting(proof, asked)

    async def resend(self, handle: str, *, browser: str | None) -> None:
        """Mail another code, which alone counts from then on.

        Raises:
            ProofGone: see `waiting`.
            TooSoon: the last one was sent less than a minute ago.
            TooManyMails, TooManyRequests: the address, or the network, had its share.
        """
        await self._proofs.limit()
        code = _mint_code()
        async with self._store.write() as tx:
            proof, asked = await self._proofs.lock(tx, handle, _PURPOSE)
            _check_browser(proof, browser)
            now = self._clock()
            if proof.resend_in(now=now):
                raise TooSoon
            await self._proofs.count(tx, proof.address)
            await tx.mailed_proofs.save(proof.sent_again(self._secret(handle, code), now=now))
            await self._put(tx, None if proof.user_id is None else asked.email, code)
        self._outbox.wake()

    async def verify(
        self, handle: str, code: str, *, browser: str | None, accounts: Accounts, user_agent: str | None
    ) -> tuple[NewSession | SecondFactorDue, Onward]:
        """Sign in with a code, once; whose address is proven by it has it verified from then on.

        Raises:
            WrongCode: not this one.
            ProofGone: see `waiting`; the fifth wrong one ends it.
        """
        proof, asked = await self._try(handle, browser)
        typed = "".join(char for char in code if char.isdecimal())
        right = same(proof.secret, self._secret(handle, typed))
        async with self._store.read() as tx:
            user = await tx.users.find(proof.user_id or "")
        if not right or user is None:
            await self._refuse(proof)
            raise WrongCode(proof.attempts_left)

        async def still(tx: Transaction) -> bool:
            # The address may have become another one meanwhile, and another tab may have been as fast.
            present = await tx.users.get(user.id)
            now = self._clock()
            if present.email != asked.email or not await tx.mailed_proofs.use(proof.hash, now=now):
                return False
            await verify_address(tx, present, now=now)
            return True

        new = await self._sign_in.proceed(
            user,
            method=METHOD,
            acr=ACR_MAILED,
            amr=AMR_MAILED,
            accounts=accounts,
            browser=browser,
            user_agent=user_agent,
            interaction=None if asked.onward.handle is None else hash_token(asked.onward.handle),
            still=still,
        )
        if new is None:
            await self._refuse(proof)
            raise ProofGone
        return new, asked.onward

    async def _try(self, handle: str, browser: str | None) -> tuple[MailedProof, Asked]:
        """Count one attempt, one at a time, and return the proof with it: however many guess at once, five count."""
        async with self._store.write() as tx:
            proof, asked = await self._proofs.lock(tx, handle, _PURPOSE)
            _check_browser(proof, browser)
            proof = proof.tried()
            await tx.mailed_proofs.save(proof)
        return proof, asked

    async def _put(self, tx: Transaction, to: str | None, code: str) -> None:
        context = {"code": f"{code[:3]} {code[3:]}", "minutes": CODE_LIFETIME // timedelta(minutes=1)}
        await self._outbox.put(tx, to=to, purpose=MailPurpose.EMAIL_CODE, context=context, now=self._clock())

    async def _refuse(self, proof: MailedProof) -> None:
        event = audit_event(
            AuditAction.LOGIN_FAILED,
            actor="anonymous",
            target=proof.user_id or "unknown",
            now=self._clock(),
            succeeded=False,
            method=METHOD,
        )
        await self._store.commit.append(event)
        self._metrics.login(METHOD, "failed")

    def _waiting(self, proof: MailedProof, asked: Asked) -> Waiting:
        return Waiting(
            email=asked.email,
            onward=asked.onward,
            attempts_left=proof.attempts_left,
            resend_in_seconds=ceil(proof.resend_in(now=self._clock()).total_seconds()),
        )

    def _secret(self, handle: str, code: str) -> str:
        # With the handle, so that equal codes are not seen to be equal; keyed, since there are only a million.
        return mac(self._keys.lookup, f"email-code:{handle}:{code}")


def _mint_code() -> str:
    return f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"


def _check_browser(proof: MailedProof, browser: str | None) -> None:
    if browser is None or not same(proof.browser, browser) or not proof.attempts_left:
        raise ProofGone


def _is_in(accounts: Accounts, email: str) -> bool:
    return any(account.user.email == email for account in accounts.all)
