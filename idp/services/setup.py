"""The first super_admin: a link on the terminal that works once, for an hour, and only while there is none."""

from dataclasses import replace
from datetime import timedelta

from idp.crypto.opaque import hash_token, mint_token
from idp.crypto.password import PasswordHasher
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.one_time_link import LinkPurpose, OneTimeLink
from idp.domain.user import AdminRole, User
from idp.services.accounts import AccountRefused, UserInput, add_user
from idp.services.audit import audit_event
from idp.services.input import Place
from idp.services.password_policy import PasswordPolicy
from idp.store.errors import Conflict, NotFound
from idp.store.store import Store, Transaction

LINK_LIFETIME = timedelta(hours=1)


class SetupClosed(Exception):
    """The link is unknown, used or expired, or there is a super_admin already."""


class Setup:
    """Opens the link and creates the account."""

    def __init__(self, store: Store, hasher: PasswordHasher, clock: Clock, policy: PasswordPolicy) -> None:
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._policy = policy

    async def open_link(self) -> str | None:
        """Return the token of a new link, which is stored as a hash only; None when there is a super_admin."""
        token = mint_token()
        async with self._store.write() as tx:
            if await tx.users.any_with_role(AdminRole.SUPER_ADMIN):
                return None
            now = self._clock()
            link = OneTimeLink(
                hash=hash_token(token),
                purpose=LinkPurpose.FIRST_SUPER_ADMIN,
                created_at=now,
                expires_at=now + LINK_LIFETIME,
            )
            await tx.one_time_links.add(link)
        return token

    async def is_open(self, token: str) -> bool:
        """Whether the link can be followed now."""
        async with self._store.read() as tx:
            link = await tx.one_time_links.find(hash_token(token))
            return self._valid(link) and not await tx.users.any_with_role(AdminRole.SUPER_ADMIN)

    async def create_super_admin(self, token: str, *, email: str, name: str, password: str) -> User:
        """Create the first super_admin and close the link; of two at the same time one succeeds.

        Raises:
            SetupClosed: the link cannot be followed (any more).
            AccountRefused: something about the account is wrong; the link stays open.
        """
        if not await self.is_open(token):
            raise SetupClosed
        given = await self._read(email, name, password)
        encoded = await self._hasher.hash(password)
        now = self._clock()
        user = given.user(None, now=now)
        try:
            async with self._store.write() as tx:
                link = await self._lock(tx, token)
                await add_user(tx, user, encoded, actor="setup", now=now)
                await tx.one_time_links.save(replace(link, used_at=now))
                granted = audit_event(
                    AuditAction.ROLE_GRANTED, actor="setup", target=user.id, now=now, roles=[str(AdminRole.SUPER_ADMIN)]
                )
                await tx.audit_events.add(granted)
        except Conflict:
            raise AccountRefused({("email",): "it belongs to another account"}) from None
        return user

    async def _lock(self, tx: Transaction, token: str) -> OneTimeLink:
        # Every way to a super_admin that must not be taken twice passes this row.
        await tx.installations.lock(1)
        try:
            link = await tx.one_time_links.lock(hash_token(token))
        except NotFound:
            raise SetupClosed from None
        if not self._valid(link) or await tx.users.any_with_role(AdminRole.SUPER_ADMIN):
            raise SetupClosed
        return link

    def _valid(self, link: OneTimeLink | None) -> bool:
        return link is not None and link.purpose is LinkPurpose.FIRST_SUPER_ADMIN and link.valid(now=self._clock())

    async def _read(self, email: str, name: str, password: str) -> UserInput:
        raw = {"email": email, "name": name.strip() or None, "password": password, "roles": [AdminRole.SUPER_ADMIN]}
        fault = await self._policy.fault(password, personal=(email, name))
        short: dict[Place, str] = {} if fault is None else {("password",): fault}
        try:
            given = UserInput.read(raw)
        except AccountRefused as refused:
            raise AccountRefused({**short, **refused.faults}) from None
        if short:
            raise AccountRefused(short)
        return given
