"""Signing in with a password."""

from dataclasses import replace

from idp.crypto.password import PasswordHasher
from idp.domain.acr import ACR_ONE_FACTOR
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.credential import Credential, CredentialKind
from idp.domain.user import User
from idp.observe.metrics import Metrics
from idp.services.audit import audit_event
from idp.services.sessions import Accounts, NewSession
from idp.services.sign_in import SecondFactorDue, SignIn
from idp.store.store import Store, Transaction

MAX_PASSWORD_CHARS = 1024
MAX_IDENTIFIER_CHARS = 320
ACR_PASSWORD = ACR_ONE_FACTOR
AMR_PASSWORD = ("pwd",)
METHOD = "password"


class LoginFailed(Exception):
    """Unknown account, wrong password or disabled account: one message and one duration for all."""


class Login:
    """Checks passwords."""

    def __init__(self, store: Store, sign_in: SignIn, hasher: PasswordHasher, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._sign_in = sign_in
        self._hasher = hasher
        self._clock = clock
        self._metrics = metrics

    async def with_password(
        self,
        identifier: str,
        password: str,
        *,
        accounts: Accounts,
        browser: str | None,
        user_agent: str | None,
        interaction: str | None = None,
    ) -> NewSession | SecondFactorDue:
        """Sign in; see `SignIn.proceed`.

        Raises:
            LoginFailed: it was not the right account and password.
            HashingBusy: too many sign-ins wait already.
        """
        user, credential = await self._find(identifier.strip(), password)
        encoded = None if credential is None else credential.secret
        check = await self._hasher.verify(encoded, password[:MAX_PASSWORD_CHARS])
        if user is None or credential is None or not check.matches or not user.active:
            await self._refuse(user)
            raise LoginFailed
        rehashed = await self._hasher.hash(password) if check.rehash else None

        async def still(tx: Transaction) -> bool:
            # It may have changed while the hash was being checked.
            present = await tx.credentials.find_of(user.id, CredentialKind.PASSWORD)
            if present is None or present.secret != credential.secret:
                return False
            if rehashed is not None:
                await tx.credentials.save(replace(credential, secret=rehashed))
            return True

        new = await self._sign_in.proceed(
            user,
            method=METHOD,
            acr=ACR_PASSWORD,
            amr=AMR_PASSWORD,
            accounts=accounts,
            browser=browser,
            user_agent=user_agent,
            interaction=interaction,
            still=still,
        )
        if new is None:
            await self._refuse(user)
            raise LoginFailed
        return new

    async def _find(self, identifier: str, password: str) -> tuple[User | None, Credential | None]:
        if len(identifier) > MAX_IDENTIFIER_CHARS or len(password) > MAX_PASSWORD_CHARS or "\x00" in identifier:
            return None, None
        async with self._store.read() as tx:
            user = await tx.users.find_by_identifier(identifier)
            # Asked for nobody as well, so that time does not tell.
            credential = await tx.credentials.find_of("" if user is None else user.id, CredentialKind.PASSWORD)
        return user, credential

    async def _refuse(self, user: User | None) -> None:
        # The address that was typed is not kept: people type their password into the wrong field.
        target = "unknown" if user is None else user.id
        await self._store.commit.append(
            audit_event(AuditAction.LOGIN_FAILED, actor="anonymous", target=target, now=self._clock(), succeeded=False)
        )
        self._metrics.login(METHOD, "failed")
