"""People's accounts: creating them, their passwords, roles and whether they may be used."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from idp.crypto.opaque import mint_id
from idp.crypto.password import PasswordHasher, is_supported_hash
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.credential import Credential, CredentialKind
from idp.domain.user import PROFILE_CLAIMS, AdminRole, User, UserStatus
from idp.services.audit import audit_event
from idp.services.input import Email, Input, InputRefused, Lines, Text, WebAddress, longest
from idp.services.login import MAX_PASSWORD_CHARS
from idp.services.sessions import end_all_sessions
from idp.store.errors import Conflict, NotFound
from idp.store.store import Store, Transaction


class AccountRefused(InputRefused):
    """An account cannot be created or changed like this."""


def _check_username(text: str) -> str:
    text = text.strip().lower()
    if not text or "@" in text or any(mark.isspace() or not mark.isprintable() for mark in text):
        raise ValueError("it must be a name without @, spaces and control characters")
    return text


def _check_hash(encoded: str) -> str:
    if not is_supported_hash(encoded):
        raise ValueError("it is no argon2id, bcrypt, scrypt or pbkdf2 hash that can be verified here")
    return encoded


def _check_password(password: str) -> str:
    if not password or "\x00" in password:
        raise ValueError("it is empty or holds NUL")
    return password


def _matching(pattern: str, fault: str) -> AfterValidator:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(fault)
        return text

    return AfterValidator(check)


class AddressInput(Input):
    """A postal address (OpenID Connect Core §5.1.1)."""

    formatted: Lines | None = None
    street_address: Lines | None = None
    locality: Text | None = None
    region: Text | None = None
    postal_code: Text | None = None
    country: Text | None = None


class UserInput(Input):
    """An account as it is written down; the claims bear the names of OpenID Connect Core §5.1."""

    refused: ClassVar[type[InputRefused]] = AccountRefused

    email: Email | None = None
    username: Annotated[str, AfterValidator(_check_username), longest(100)] | None = None
    password: Annotated[str, AfterValidator(_check_password), longest(MAX_PASSWORD_CHARS)] | None = Field(
        default=None, repr=False
    )
    password_hash: Annotated[str, AfterValidator(_check_hash)] | None = Field(default=None, repr=False)
    email_verified: bool = False
    name: Text | None = None
    given_name: Text | None = None
    family_name: Text | None = None
    middle_name: Text | None = None
    nickname: Text | None = None
    preferred_username: Text | None = None
    profile: WebAddress | None = None
    picture: WebAddress | None = None
    website: WebAddress | None = None
    gender: Text | None = None
    birthdate: (
        Annotated[str, _matching(r"\d{4}(-\d\d-\d\d)?", "it must be a date such as 1990-12-31, or a year")] | None
    ) = None
    zoneinfo: (
        Annotated[str, _matching(r"[A-Za-z][\w+-]*(/[\w+-]+)*", "it must be a time zone such as Europe/Vienna")] | None
    ) = None
    locale: (
        Annotated[str, _matching(r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*", "it must be a locale such as de-AT")] | None
    ) = None
    phone_number: Text | None = None
    phone_number_verified: bool | None = None
    address: AddressInput | None = None
    roles: Annotated[tuple[AdminRole, ...], AfterValidator(lambda roles: tuple(dict.fromkeys(roles)))] = ()
    status: UserStatus = UserStatus.ACTIVE

    @field_validator("password_hash")
    @classmethod
    def _check_one_password(cls, encoded: str | None, info: Any) -> str | None:
        if encoded is not None and info.data.get("password") is not None:
            raise ValueError("it cannot stand beside password: write one of the two")
        return encoded

    @model_validator(mode="after")
    def _check_identifier(self) -> Self:
        if self.email is None and self.username is None:
            raise ValueError("an e-mail address (email) or a user name (username) is needed")
        return self

    def user(self, present: User | None, *, now: datetime) -> User:
        """Return the account: a new one, or `present` with what was given; fields that were not stay as they are."""
        given = self.model_fields_set
        base = present or User(id=mint_id("u"), email=None, created_at=now, updated_at=now)
        changes = {name: getattr(self, name) for name in given & _COLUMNS}
        if self.email != base.email and "email" in given and "email_verified" not in given:
            # Whoever proved the old address has not proved the new one.
            changes["email_verified"] = False
        claims = self.model_dump(include=given & set(PROFILE_CLAIMS), exclude_none=True)
        kept = {name: value for name, value in base.profile.items() if name not in given}
        profile = {name: value for name, value in {**kept, **claims}.items() if value != {}}
        user = replace(base, profile=profile, **changes)
        return user if user == base else replace(user, updated_at=now)


_COLUMNS = {"email", "username", "email_verified", "name", "roles", "status"}


def password_fault(password: str, *, min_length: int) -> str | None:
    """Return why the policy refuses a password; None when it does not."""
    return f"it must have at least {min_length} characters" if len(password) < min_length else None


def password_credential(user: User, encoded: str, *, now: datetime) -> Credential:
    """Return the credential that holds a password's hash."""
    return Credential(id=mint_id("c"), user_id=user.id, kind=CredentialKind.PASSWORD, secret=encoded, created_at=now)


async def put_password(tx: Transaction, user: User, encoded: str, *, actor: str, now: datetime) -> None:
    """Replace the password of a user who is locked, or give them a first one; what was mailed before counts no more."""
    held = await tx.credentials.find_of(user.id, CredentialKind.PASSWORD)
    if held is None:
        await tx.credentials.add(password_credential(user, encoded, now=now))
    else:
        await tx.credentials.save(replace(held, secret=encoded, created_at=now, last_used_at=None))
    await tx.mailed_proofs.end_of_user(user.id, now=now)
    await tx.pending_sign_ins.delete_of(user.id)
    await tx.audit_events.add(audit_event(AuditAction.PASSWORD_SET, actor=actor, target=user.id, now=now))


class Accounts:
    """Administers accounts; `actor` is who does it, for the audit log."""

    def __init__(self, store: Store, hasher: PasswordHasher, clock: Clock, password_min_length: int) -> None:
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._min_length = password_min_length

    async def create(self, given: UserInput, *, actor: str) -> User:
        """Create an account; without a password nobody can sign in to it yet.

        Raises:
            AccountRefused: the password is too short, or address or user name belong to another account.
        """
        encoded = given.password_hash
        if given.password is not None:
            encoded = await self._hash(given.password)
        now = self._clock()
        user = given.user(None, now=now)
        try:
            async with self._store.write() as tx:
                await add_user(tx, user, encoded, actor=actor, now=now)
        except Conflict:
            # Somebody else was as fast.
            raise AccountRefused({(): "an account with this address or user name exists already"}) from None
        return user

    async def set_password(self, identifier: str, password: str, *, actor: str) -> User:
        """Replace an account's password; whoever knew the old one is signed out everywhere.

        Raises:
            AccountRefused: the password is too short or too long.
            NotFound: there is no such account.
        """
        encoded = await self._hash(password)
        async with self._store.write() as tx:
            now = self._clock()
            user = await _lock(tx, identifier)
            await put_password(tx, user, encoded, actor=actor, now=now)
            await end_all_sessions(tx, user.id, now=now)
        # Only now: a grant that is being made at this moment is either seen here, or its code sees the ended session.
        async with self._store.write() as tx:
            await tx.grants.revoke_all(user.id, now=now)
        return user

    async def disable(self, identifier: str, *, actor: str) -> User:
        """Keep somebody out, at once and for good: what was given before does not come back with `enable`.

        Raises:
            AccountRefused: it is the last active super_admin.
            NotFound: there is no such account.
        """
        return await self._change(identifier, AuditAction.USER_DISABLED, actor, {"status": UserStatus.DISABLED})

    async def enable(self, identifier: str, *, actor: str) -> User:
        """Let somebody in again.

        Raises:
            NotFound: there is no such account.
        """
        return await self._change(identifier, AuditAction.USER_ENABLED, actor, {"status": UserStatus.ACTIVE})

    async def grant_role(self, identifier: str, role: AdminRole, *, actor: str) -> User:
        """Give an account a role in the administration.

        Raises:
            NotFound: there is no such account.
        """
        return await self._change(identifier, AuditAction.ROLE_GRANTED, actor, {}, add=(role,))

    async def revoke_role(self, identifier: str, role: AdminRole, *, actor: str) -> User:
        """Take a role away.

        Raises:
            AccountRefused: it is the last active super_admin's.
            NotFound: there is no such account.
        """
        return await self._change(identifier, AuditAction.ROLE_REVOKED, actor, {}, remove=(role,))

    async def _change(
        self,
        identifier: str,
        action: AuditAction,
        actor: str,
        changes: Mapping[str, Any],
        *,
        add: tuple[AdminRole, ...] = (),
        remove: tuple[AdminRole, ...] = (),
    ) -> User:
        async with self._store.write() as tx:
            # One at a time, so that two super_admins cannot remove each other.
            await tx.installations.lock(1)
            now = self._clock()
            present = await _lock(tx, identifier)
            roles = tuple(role for role in AdminRole if role in {*present.roles, *add} - set(remove))
            user = replace(present, **changes, roles=roles)
            if user == present:
                return present
            user = replace(user, updated_at=now)
            await save_user(tx, user, before=present)
            await require_super_admin(tx, before=present)
            detail: dict[str, Any] = {"roles": [str(role) for role in (*add, *remove)]} if add or remove else {}
            await tx.audit_events.add(audit_event(action, actor=actor, target=user.id, now=now, **detail))
        return user

    async def _hash(self, password: str) -> str:
        fault = password_fault(password, min_length=self._min_length)
        if len(password) > MAX_PASSWORD_CHARS:
            fault = f"it must have at most {MAX_PASSWORD_CHARS} characters"
        if "\x00" in password:
            fault = "it holds NUL"
        if fault is not None:
            raise AccountRefused({("password",): fault})
        return await self._hasher.hash(password)


async def add_user(tx: Transaction, user: User, encoded: str | None, *, actor: str, now: datetime) -> None:
    """Insert an account with its password's hash.

    Raises:
        AccountRefused: address or user name belong to another account.
    """
    for name, identifier in (("email", user.email), ("username", user.username)):
        if identifier is not None and await tx.users.find_by_identifier(identifier) is not None:
            raise AccountRefused({(name,): "it belongs to another account"})
    await tx.users.add(user)
    if encoded is not None:
        await tx.credentials.add(password_credential(user, encoded, now=now))
    roles: dict[str, Any] = {"roles": [str(role) for role in user.roles]} if user.roles else {}
    await tx.audit_events.add(audit_event(AuditAction.USER_CREATED, actor=actor, target=user.id, now=now, **roles))


async def save_user(tx: Transaction, user: User, *, before: User) -> None:
    """Save a changed account; one that is disabled by it is signed out everywhere and loses what it gave."""
    await tx.users.save(user)
    if before.active and not user.active:
        await end_all_sessions(tx, user.id, now=user.updated_at)
        await tx.grants.revoke_all(user.id, now=user.updated_at)


async def require_super_admin(tx: Transaction, *, before: User) -> None:
    """Refuse to go on when `before` was an active super_admin and now, within the transaction, none is left.

    Raises:
        AccountRefused: then the installation could be administered by nobody.
    """
    if not is_super_admin(before) or any(is_super_admin(user) for user in await tx.users.all()):
        return
    raise AccountRefused({("roles",): f"{before.label} is the last active super_admin: make another one first"})


def is_super_admin(user: User) -> bool:
    """Whether the account may administer everything now."""
    return user.active and AdminRole.SUPER_ADMIN in user.roles


async def find_user(tx: Transaction, identifier: str) -> User | None:
    """Return whom an id, an e-mail address or a user name means; nobody's user name stands in for another's id."""
    return await tx.users.find(identifier) or await tx.users.find_by_identifier(identifier)


async def _lock(tx: Transaction, identifier: str) -> User:
    user = await find_user(tx, identifier)
    if user is None:
        raise NotFound(f"there is no account {identifier}")
    return await tx.users.lock(user.id)
