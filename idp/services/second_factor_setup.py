"""Setting second factors up and taking them away: always by whoever proved a moment ago who they are."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from idp.crypto.envelope import CannotUnseal, seal, unseal
from idp.crypto.opaque import mint_recovery_code
from idp.crypto.totp import matching_step, mint_secret, provisioning_uri
from idp.domain.acr import ACR_TWO_FACTORS, reaches
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.mail import MailPurpose
from idp.domain.second_factor import RecoveryCode, Totp
from idp.domain.user import User
from idp.services.accounts import find_user
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.mail import Outbox
from idp.services.second_factors import (
    AMR_TOTP,
    SECURITY_PATH,
    WrongCode,
    raise_session,
    recovery_code_hash,
    totp_place,
    typed,
)
from idp.services.sessions import NotRecent, Sessions, SignedIn
from idp.services.sign_in import has_second_factor
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

RECOVERY_CODES = 10
# How long somebody may take to install an app and enter its first code.
SETUP_LIFETIME = timedelta(minutes=15)


class NotStrong(Exception):
    """The person has a second factor, and has to prove it before another counts, or none."""


class SetupGone(Exception):
    """The page of the setup is too old, or another session's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """An app that is being set up: what it scans, the same to be typed, and the sealed token of the page's form."""

    uri: str = field(repr=False)
    secret: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """An app that was set up: the session's new cookie, and recovery codes where there were none."""

    cookie: str = field(repr=False)
    recovery_codes: tuple[str, ...] = field(default=(), repr=False)


class SecondFactorSetup:
    """Sets up what `SecondFactors` checks."""

    def __init__(
        self,
        store: Store,
        keys: DataKeys,
        sessions: Sessions,
        outbox: Outbox,
        clock: Clock,
        *,
        issuer: str,
        service_name: str,
    ) -> None:
        self._store = store
        self._keys = keys
        self._sessions = sessions
        self._outbox = outbox
        self._clock = clock
        self._issuer = issuer
        self._service_name = service_name

    async def begin(self, signed_in: SignedIn) -> Setup:
        """Return a new secret; nothing is stored until its first code came.

        Raises:
            NotRecent, NotStrong: who is signed in has to prove more first.
        """
        async with self._store.read() as tx:
            await self._check_allowed(tx, signed_in)
        document = {"secret": mint_secret(), "at": self._clock().isoformat()}
        sealed = seal(self._keys.seal, json.dumps(document).encode(), associated=_page_of(signed_in))
        return self._setup(signed_in, document["secret"], urlsafe_b64encode(sealed).decode())

    def reopen(self, signed_in: SignedIn, token: str) -> Setup:
        """Return what is being set up, for the page to be shown again.

        Raises:
            SetupGone: it is too old, or another session's.
        """
        try:
            sealed = urlsafe_b64decode(token.encode("ascii", "replace"))
            document = json.loads(unseal(self._keys.seal, sealed, associated=_page_of(signed_in)))
        except (NotBase64, CannotUnseal):
            raise SetupGone from None
        if self._clock() >= datetime.fromisoformat(document["at"]) + SETUP_LIFETIME:
            raise SetupGone
        return self._setup(signed_in, document["secret"], token)

    async def confirm(self, signed_in: SignedIn, token: str, code: str, *, user_agent: str | None) -> Confirmed:
        """Let the app count, once it showed that it makes the right codes; the session is one of two factors then.

        Raises:
            SetupGone: see `reopen`.
            WrongCode: it is not the app's code; nothing was stored.
            NotStrong: another one was set up meanwhile.
            PendingGone: the session ended meanwhile.
        """
        setup, now = self.reopen(signed_in, token), self._clock()
        step = matching_step(setup.secret, typed(code), after=0, now=now)
        if step is None:
            raise WrongCode
        async with self._store.write() as tx:
            user = await tx.users.lock(signed_in.user.id)
            # The page's token shows that the first factor was proven a moment before it was made.
            await self._check_strong(tx, signed_in)
            await tx.totps.delete(user.id)
            totp = Totp(
                user_id=user.id,
                sealed=seal(self._keys.seal, setup.secret.encode(), associated=totp_place(user.id)),
                created_at=now,
                last_step=step,
                last_used_at=now,
            )
            await tx.totps.add(totp)
            cookie = await raise_session(tx, self._sessions, signed_in, (AMR_TOTP,), user_agent=user_agent)
            codes: tuple[str, ...] = ()
            if not await tx.recovery_codes.count_left(user.id):
                codes = await self._new_codes(tx, user, now=now)
            await self._record(tx, user, AuditAction.SECOND_FACTOR_ADDED, MailPurpose.SECOND_FACTOR_ADDED, now=now)
        self._outbox.wake()
        return Confirmed(cookie=cookie, recovery_codes=codes)

    async def remove(self, signed_in: SignedIn) -> bool:
        """Take the app away, and the recovery codes, which stand in for it; False when there was none.

        Raises:
            NotRecent, NotStrong: see `begin`.
        """
        async with self._store.write() as tx:
            user = await tx.users.lock(signed_in.user.id)
            await self._check_allowed(tx, signed_in)
            if not await forget_all(tx, user):
                return False
            purpose = MailPurpose.SECOND_FACTOR_REMOVED
            await self._record(tx, user, AuditAction.SECOND_FACTOR_REMOVED, purpose, now=self._clock())
        self._outbox.wake()
        return True

    async def new_codes(self, signed_in: SignedIn) -> tuple[str, ...]:
        """Replace the recovery codes, of which the old ones work no more; none for whoever has no second factor.

        Raises:
            NotRecent, NotStrong: see `begin`.
        """
        now = self._clock()
        async with self._store.write() as tx:
            user = await tx.users.lock(signed_in.user.id)
            await self._check_allowed(tx, signed_in)
            if not await has_second_factor(tx, user.id):
                return ()
            codes = await self._new_codes(tx, user, now=now)
            purpose = MailPurpose.RECOVERY_CODES_CREATED
            await self._record(tx, user, AuditAction.RECOVERY_CODES_CREATED, purpose, now=now)
        self._outbox.wake()
        return codes

    def _setup(self, signed_in: SignedIn, secret: str, token: str) -> Setup:
        uri = provisioning_uri(secret, account=signed_in.user.label, issuer=self._service_name)
        return Setup(uri=uri, secret=secret, token=token)

    async def _check_allowed(self, tx: Transaction, signed_in: SignedIn) -> None:
        if not self._sessions.is_recent(signed_in.session):
            raise NotRecent
        await self._check_strong(tx, signed_in)

    async def _check_strong(self, tx: Transaction, signed_in: SignedIn) -> None:
        # Else whoever took the first factor alone, or a provider's account, would do away with the second.
        if not reaches(signed_in.session.acr, ACR_TWO_FACTORS) and await has_second_factor(tx, signed_in.user.id):
            raise NotStrong

    async def _new_codes(self, tx: Transaction, user: User, *, now: datetime) -> tuple[str, ...]:
        await tx.recovery_codes.delete_of(user.id)
        codes: dict[str, None] = {}
        while len(codes) < RECOVERY_CODES:
            codes[mint_recovery_code()] = None
        for code in codes:
            hashed = recovery_code_hash(self._keys, user.id, code)
            await tx.recovery_codes.add(RecoveryCode(hash=hashed, user_id=user.id, created_at=now))
        return tuple(codes)

    async def _record(
        self, tx: Transaction, user: User, action: AuditAction, purpose: MailPurpose, *, now: datetime
    ) -> None:
        await tx.audit_events.add(audit_event(action, actor=user.id, target=user.id, now=now))
        await tell(tx, self._outbox, user, purpose, issuer=self._issuer, now=now)


async def reset_second_factors(
    store: Store, outbox: Outbox, clock: Clock, identifier: str, *, actor: str, issuer: str
) -> User:
    """Take away all second factors of somebody who has lost them, who is told so by mail.

    Raises:
        NotFound: there is no such account.
    """
    now = clock()
    async with store.write() as tx:
        found = await find_user(tx, identifier)
        if found is None:
            raise NotFound(f"there is no account {identifier}")
        user = await tx.users.lock(found.id)
        if await forget_all(tx, user):
            event = audit_event(AuditAction.SECOND_FACTORS_RESET, actor=actor, target=user.id, now=now)
            await tx.audit_events.add(event)
            await tell(tx, outbox, user, MailPurpose.SECOND_FACTOR_REMOVED, issuer=issuer, now=now)
    return user


async def forget_all(tx: Transaction, user: User) -> bool:
    """Delete what somebody has of second factors, and the sign-ins that wait for one; False when there was none."""
    await tx.recovery_codes.delete_of(user.id)
    await tx.pending_sign_ins.delete_of(user.id)
    return await tx.totps.delete(user.id)


async def tell(
    tx: Transaction, outbox: Outbox, user: User, purpose: MailPurpose, *, issuer: str, now: datetime
) -> None:
    """Let the person know by mail: if it was not them, they have to hear of it."""
    if user.email is not None:
        context = {"at": now, "url": f"{issuer}{SECURITY_PATH}"}
        await outbox.put(tx, to=user.email, purpose=purpose, context=context, now=now)


def _page_of(signed_in: SignedIn) -> str:
    """Return the place of a setup: one session of one person."""
    return f"totp-setup:{signed_in.user.id}:{signed_in.session.id}"
