"""A link by which somebody signs in once, made by whoever administers the installation."""

from dataclasses import replace
from datetime import datetime, timedelta

from idp.crypto.opaque import hash_token, mint_token
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.one_time_link import LinkPurpose, OneTimeLink
from idp.domain.user import User
from idp.services.accounts import AccountRefused, find_user
from idp.services.audit import audit_event
from idp.services.email_codes import ACR_MAILED, AMR_MAILED
from idp.services.sessions import Accounts, NewSession
from idp.services.sign_in import SecondFactorDue, SignIn
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

LIFETIME = timedelta(minutes=15)
METHOD = "sign_in_link"


class SignInLinkGone(Exception):
    """The link is unknown, used or expired, or its account is closed."""


async def make_link(store: Store, identifier: str, *, issuer: str, actor: str, now: datetime) -> tuple[User, str]:
    """Return whose link it is and the link, which is stored as a hash only.

    Raises:
        NotFound: there is no such account.
        AccountRefused: it is disabled.
    """
    token = mint_token()
    async with store.write() as tx:
        user = await find_user(tx, identifier)
        if user is None:
            raise NotFound(f"there is no account {identifier}")
        if not user.active:
            raise AccountRefused({(): "the account is disabled: enable it first"})
        await tx.one_time_links.add(
            OneTimeLink(
                hash=hash_token(token),
                purpose=LinkPurpose.SIGN_IN,
                user_id=user.id,
                created_at=now,
                expires_at=now + LIFETIME,
            )
        )
        event = audit_event(AuditAction.SIGN_IN_LINK_CREATED, actor=actor, target=user.id, now=now)
        await tx.audit_events.add(event)
    return user, f"{issuer}/login/link/{token}"


class SignInLinks:
    """Signs in whoever brings such a link."""

    def __init__(self, store: Store, sign_in: SignIn, clock: Clock) -> None:
        self._store = store
        self._sign_in = sign_in
        self._clock = clock

    async def whose(self, token: str) -> User:
        """Return whom the link signs in.

        Raises:
            SignInLinkGone: nobody.
        """
        async with self._store.read() as tx:
            link = await tx.one_time_links.find(hash_token(token))
            user = None if link is None or not self._valid(link) else await tx.users.find(link.user_id or "")
        if user is None or not user.active:
            raise SignInLinkGone
        return user

    async def use(
        self, token: str, *, browser: str | None, accounts: Accounts, user_agent: str | None
    ) -> NewSession | SecondFactorDue:
        """Sign in, once; of two at the same time one does.

        Raises:
            SignInLinkGone: see `whose`.
        """
        user = await self.whose(token)

        async def still(tx: Transaction) -> bool:
            link = await tx.one_time_links.lock(hash_token(token))
            if not self._valid(link):
                return False
            await tx.one_time_links.save(replace(link, used_at=self._clock()))
            return True

        new = await self._sign_in.proceed(
            user,
            method=METHOD,
            acr=ACR_MAILED,
            # A secret that works once, as a mailed code is.
            amr=AMR_MAILED,
            accounts=accounts,
            browser=browser,
            user_agent=user_agent,
            interaction=None,
            still=still,
        )
        if new is None:
            raise SignInLinkGone
        return new

    def _valid(self, link: OneTimeLink) -> bool:
        return link.purpose is LinkPurpose.SIGN_IN and link.valid(now=self._clock())
