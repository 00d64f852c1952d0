"""Proving a second factor: to finish a sign-in, or to make more of a session that there is (RFC 9470)."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from idp.crypto.envelope import unseal
from idp.crypto.opaque import hash_token, mac, same
from idp.crypto.totp import matching_step
from idp.domain.acr import ACR_TWO_FACTORS
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.mail import MailPurpose
from idp.domain.second_factor import PendingSignIn, Totp
from idp.domain.session import Session
from idp.domain.user import User
from idp.observe.metrics import Metrics
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.mail import Outbox
from idp.services.sessions import Accounts, NewSession, Sessions, SignedIn
from idp.services.sign_in import SignIn, has_second_factor
from idp.store.store import Store, Transaction

# How many wrong answers one sign-in may give before it has to begin anew, with the first factor.
MAX_ATTEMPTS = 5
MAX_CODE_CHARS = 100
SECURITY_PATH = "/account/security"
# RFC 8176 §2. It has no name for a recovery code, which is one of two factors all the same.
AMR_TOTP, AMR_TWO_FACTORS = "otp", "mfa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What somebody answers, by one of the ways that there are."""

    totp: str | None = field(default=None, repr=False)
    recovery_code: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What second factors somebody has."""

    totp: Totp | None
    recovery_codes: int

    def __bool__(self) -> bool:
        """Whether they have any; recovery codes alone are none."""
        return self.totp is not None


class PendingGone(Exception):
    """The sign-in is unknown, used, expired, of another browser, or had too many wrong answers: it begins anew."""


class WrongCode(Exception):
    """The answer proves nothing; it was counted."""


class CodesRefused(Exception):
    """Too many wrong codes were entered for this account: none is looked at before `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__()
        self.until = until


class SecondFactors:
    """Checks second factors."""

    def __init__(
        self,
        store: Store,
        keys: DataKeys,
        sessions: Sessions,
        sign_in: SignIn,
        outbox: Outbox,
        clock: Clock,
        metrics: Metrics,
        *,
        issuer: str,
    ) -> None:
        self._store = store
        self._keys = keys
        self._sessions = sessions
        self._sign_in = sign_in
        self._outbox = outbox
        self._clock = clock
        self._metrics = metrics
        self._issuer = issuer

    async def of(self, user: User) -> Held:
        """Return what somebody has."""
        async with self._store.read() as tx:
            return Held(totp=await tx.totps.find(user.id), recovery_codes=await tx.recovery_codes.count_left(user.id))

    async def pending(self, handle: str, *, browser: str | None) -> User:
        """Return who is about to sign in.

        Raises:
            PendingGone: nobody is, in this browser.
        """
        async with self._store.read() as tx:
            pending = await self._find(tx, handle, browser)
            return await tx.users.get(pending.user_id)

    async def complete(
        self, handle: str, proof: Proof, *, browser: str | None, accounts: Accounts, user_agent: str | None
    ) -> NewSession:
        """Finish a sign-in by the second factor.

        Raises:
            PendingGone: there is none to finish.
            WrongCode, CodesRefused: see `_prove`.
        """
        now, cookie = self._clock(), ""
        refused: WrongCode | CodesRefused | None = None
        async with self._store.write() as tx:
            user = await tx.users.lock((await self._find(tx, handle, browser)).user_id)
            # Again, now that nobody else answers for them: two at once are not both right.
            pending = await self._find(tx, handle, browser)
            if not user.active or not await has_second_factor(tx, user.id):
                raise PendingGone
            amr = await self._prove(tx, user, proof, now=now)
            if isinstance(amr, CodesRefused):
                refused = amr
            elif isinstance(amr, WrongCode):
                # What was learned is kept.
                refused = amr
                spent = pending.attempts + 1 >= MAX_ATTEMPTS
                failed = replace(pending, attempts=pending.attempts + 1, used_at=now if spent else None)
                await tx.pending_sign_ins.save(failed)
            else:
                await tx.pending_sign_ins.use(pending.hash, now=now)
                cookie, session = self._sessions.start(
                    user, acr=ACR_TWO_FACTORS, amr=two_factors(pending.amr, amr), user_agent=user_agent
                )
                previous = accounts.of_user(user.id)
                await self._sessions.begin(tx, session, previous=previous, interaction=pending.interaction)
        if refused is not None:
            self._metrics.login(pending.method, "failed")
            raise refused
        self._outbox.wake()
        return await self._sign_in.begun(pending.method, cookie, accounts, user, now=now)

    async def step_up(self, signed_in: SignedIn, proof: Proof, *, user_agent: str | None) -> str:
        """Make a session one of two factors; return its new cookie.

        Raises:
            PendingGone: the session ended meanwhile, or the person has no second factor any more.
            WrongCode, CodesRefused: see `_prove`.
        """
        now, cookie = self._clock(), ""
        refused: WrongCode | CodesRefused | None = None
        async with self._store.write() as tx:
            user = await tx.users.lock(signed_in.user.id)
            if not user.active or not await has_second_factor(tx, user.id):
                raise PendingGone
            amr = await self._prove(tx, user, proof, now=now)
            if isinstance(amr, Exception):
                refused = amr
            else:
                cookie = await raise_session(tx, self._sessions, signed_in, amr, user_agent=user_agent)
        if refused is not None:
            raise refused
        self._outbox.wake()
        return cookie

    async def _find(self, tx: Transaction, handle: str, browser: str | None) -> PendingSignIn:
        pending = await tx.pending_sign_ins.find(hash_token(handle))
        if pending is None or pending.used_at is not None or self._clock() >= pending.expires_at:
            raise PendingGone
        if not browser or not same(pending.browser, browser):
            # Another browser's: whoever proved the first factor there is not who comes here.
            raise PendingGone
        return pending

    async def _prove(
        self, tx: Transaction, user: User, proof: Proof, *, now: datetime
    ) -> tuple[str, ...] | WrongCode | CodesRefused:
        """Return the methods (`amr`) of what was proven, and use it up; or the refusal, which is raised once kept.

        The user is held. Recovery codes stand open while codes of the app are refused, so that nobody who guesses those
        keeps the person out.
        """
        totp = await tx.totps.find(user.id)
        if proof.recovery_code is not None:
            if await self._use_recovery_code(tx, user, proof.recovery_code, now=now):
                if totp is not None:
                    await tx.totps.save(replace(totp, failed=0, failed_at=None))
                return ()
        elif totp is not None:
            if (until := totp.open_at()) is not None and now < until:
                return CodesRefused(until)
            secret = unseal(self._keys.seal, totp.sealed, associated=totp_place(user.id)).decode()
            step = matching_step(secret, typed(proof.totp or ""), after=totp.last_step, now=now)
            if step is not None:
                await tx.totps.save(totp.used(step, now=now))
                return (AMR_TOTP,)
        if totp is not None:
            await tx.totps.save(totp.refused(now=now))
        event = audit_event(
            AuditAction.SECOND_FACTOR_FAILED, actor="anonymous", target=user.id, now=now, succeeded=False
        )
        await tx.audit_events.add(event)
        return WrongCode()

    async def _use_recovery_code(self, tx: Transaction, user: User, code: str, *, now: datetime) -> bool:
        if not await tx.recovery_codes.use(recovery_code_hash(self._keys, user.id, code), now=now):
            return False
        left = await tx.recovery_codes.count_left(user.id)
        event = audit_event(AuditAction.RECOVERY_CODE_USED, actor=user.id, target=user.id, now=now, left=left)
        await tx.audit_events.add(event)
        if user.email is not None:
            context = {"left": left, "at": now, "url": f"{self._issuer}{SECURITY_PATH}"}
            purpose = MailPurpose.RECOVERY_CODE_USED
            await self._outbox.put(tx, to=user.email, purpose=purpose, context=context, now=now)
        return True


def two_factors(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """Return the methods of a sign-in by both (RFC 8176 §2), each once."""
    return tuple(dict.fromkeys((*(name for name in first if name != AMR_TWO_FACTORS), *second, AMR_TWO_FACTORS)))


async def raise_session(
    tx: Transaction, sessions: Sessions, signed_in: SignedIn, proven: Iterable[str], *, user_agent: str | None
) -> str:
    """Make a session one of two factors, under its `sid` and with a new cookie, which is returned.

    When the person signed in stays as it was: of the first factor there is no new proof. Nor does the session last
    longer by it.

    Raises:
        PendingGone: it ended, or has another cookie by now.
    """
    stored = await tx.sessions.lock(signed_in.session.id)
    if stored.ended_at is not None or stored.hash != signed_in.session.hash:
        raise PendingGone
    cookie, session = sessions.start(
        signed_in.user,
        acr=ACR_TWO_FACTORS,
        amr=two_factors(stored.amr, proven),
        user_agent=user_agent,
        auth_time=stored.auth_time,
        auth_time_known=stored.auth_time_known,
    )
    raised: Session = replace(session, expires_at=stored.expires_at)
    await sessions.begin(tx, raised, previous=signed_in, interaction=None, step_up=True)
    return cookie


def typed(code: str) -> str:
    """Return a code as it was meant: apps show a space in it, and some keyboards write digits of their own."""
    plain = unicodedata.normalize("NFKC", code[:MAX_CODE_CHARS])
    digits = (str(unicodedata.decimal(char)) if char.isdecimal() else char for char in plain if not char.isspace())
    return "".join(digits)


def recovery_code_hash(keys: DataKeys, user_id: str, code: str) -> str:
    """Return what a recovery code is stored under, however it was typed; it is no other person's code."""
    plain = "".join(char for char in typed(code).upper() if char.isalnum())
    return mac(keys.lookup, f"recovery-code:{user_id}:{plain}")


def totp_place(user_id: str) -> str:
    """Return the place of a person's sealed secret, which opens nowhere else."""
    return f"totp:{user_id}"
