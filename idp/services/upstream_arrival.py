"""Whoever came back from another provider: found by (`iss`, `sub`), or given an account, and signed in, all at once."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.envelope import seal
from idp.crypto.opaque import hash_token, mint_id
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.credential import CredentialKind
from idp.domain.lab_rule import kept_claims
from idp.domain.provider import Provider
from idp.domain.session import Session
from idp.domain.upstream import LinkedAccount, UpstreamIdentity, UpstreamSession
from idp.domain.user import User
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.services.accounts import AccountRefused, add_user, save_user
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.lab_rules import follow_rules
from idp.services.login import ACR_PASSWORD
from idp.services.providers import Providers
from idp.services.sessions import Accounts, NewSession, Sessions
from idp.services.sign_up import SignUp, close_link, new_user, with_profile
from idp.services.upstream_tokens import kept_token
from idp.services.upstream_visits import Onward
from idp.store.columns import storable
from idp.store.errors import Conflict
from idp.store.store import Store, Transaction

# Another provider vouches for the person, by whatever means it has; what it says of these is translated or left out.
AMR_UPSTREAM = "fed"
ACR_UPSTREAM = ACR_PASSWORD
_MAX_NAME_CHARS = 300
# How often it is worth a write to remember that a link is in use.
_TOUCH_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Whom it was about: signed in, where `new` is a session; else whose account has to be proven first, if anybody's.

    `email_changed` tells that the account's address came from the provider, which knows another one now.
    """

    new: NewSession | None = None
    user_id: str | None = None
    recreated: bool = False
    email_changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Whose account it would be: a known person has a `label`; of others `user_id` is whose address they have."""

    user_id: str | None = None
    label: str | None = None
    has_password: bool = False
    recreated: bool = False


class UpstreamArrival:
    """Signs in whom a provider vouches for."""

    def __init__(
        self, store: Store, keys: DataKeys, providers: Providers, sessions: Sessions, sign_up: SignUp, clock: Clock
    ) -> None:
        self._store = store
        self._keys = keys
        self._providers = providers
        self._sessions = sessions
        self._sign_up = sign_up
        self._clock = clock

    async def sign_in(
        self,
        provider: Provider,
        identity: UpstreamIdentity,
        onward: Onward,
        *,
        accounts: Accounts,
        user_agent: str | None,
    ) -> Arrived:
        """Sign a known person in, make an account for an unknown one, or say whose account has to be proven.

        Raises:
            UpstreamRefused: DISABLED, UNVERIFIED_EMAIL, UNVERIFIED_ACCOUNT or NO_ACCOUNT.
        """
        try:
            return await self._sign_in(provider, identity, onward, accounts, user_agent)
        except (AccountRefused, Conflict):
            # Somebody was as fast with the same pair or address: now they are known.
            return await self._sign_in(provider, identity, onward, accounts, user_agent)

    async def find(self, provider: Provider, identity: UpstreamIdentity, onward: Onward) -> Known:
        """Return whose account it would be, without signing anybody in.

        Raises:
            UpstreamRefused: see `sign_in`.
        """
        async with self._store.read() as tx:
            found = await tx.linked_accounts.find_by_key(*identity.key)
            if found is None:
                user = await self._whose(tx, identity, onward.next_path, now=self._clock())
                if user is None:
                    return Known()
                return Known(user_id=user.id, recreated=await _recreated(tx, user, identity))
            if not found[1].active:
                raise UpstreamRefused(UpstreamFault.DISABLED, detail=f"account {found[1].id}")
            has_password = await tx.credentials.find_of(found[1].id, CredentialKind.PASSWORD) is not None
        return Known(user_id=found[1].id, label=found[1].label, has_password=has_password)

    async def _sign_in(
        self,
        provider: Provider,
        identity: UpstreamIdentity,
        onward: Onward,
        accounts: Accounts,
        user_agent: str | None,
    ) -> Arrived:
        now, has_rules = self._clock(), await self._providers.has_rules(provider)
        issuers = await self._providers.issuers()
        interaction = None if onward.handle is None else hash_token(onward.handle)
        if not has_rules:
            new = await self._at_once(provider, identity, interaction, accounts, user_agent, now=now)
            if new is not None:
                return new
        async with self._store.write() as tx:
            # As they are now: the user may be being disabled, and a refresh token be replaced, at this moment.
            found = await tx.linked_accounts.find_by_key(*identity.key, lock=True)
            if found is None:
                user = await self._unknown(tx, provider, identity, onward.next_path, now=now)
                if isinstance(user, Arrived):
                    return user
                linked = kept_token(self._keys, provider, link_of(provider, identity, user.id, now=now), identity)
                await add_link(tx, linked, actor=user.id, now=now)
                email_changed = False
            else:
                before, user = found
                if not user.active:
                    raise UpstreamRefused(UpstreamFault.DISABLED, detail=f"account {user.id}")
                email_changed = _email_changed(before, user, identity)
                linked = self._told(provider, before, identity, keep_email=email_changed, now=now)
                if linked != before:
                    await tx.linked_accounts.save(linked)
                user = await _refreshed(tx, provider, identity, user, now=now)
            if has_rules:
                await follow_rules(tx, user.id, linked, issuers, now=now)
            cookie, session = self._start(provider, identity, user, user_agent)
            session = await self._sessions.begin(
                tx, session, previous=accounts.of_user(user.id), interaction=interaction, provider=provider.name
            )
            if session.created_at < now:
                # It goes on under its id, and may have begun at another provider.
                await tx.upstream_sessions.delete(session.id)
            for begun in self._begun(provider, identity, session, now=now):
                await tx.upstream_sessions.add(begun)
        others = await self._sessions.make_room(accounts, user.id, now=now)
        return Arrived(new=NewSession(cookie, others), user_id=user.id, email_changed=email_changed)

    async def _at_once(
        self,
        provider: Provider,
        identity: UpstreamIdentity,
        interaction: str | None,
        accounts: Accounts,
        user_agent: str | None,
        *,
        now: datetime,
    ) -> Arrived | None:
        """Sign in a known person of whom nothing has to be written but the session; None where anything else has.

        That is how it is nearly always, and it costs a fraction of a transaction.
        """
        found = await self._store.find_linked_account(*identity.key)
        if found is None or accounts.of_user(found[1].id) is not None:
            return None
        linked, user = found
        is_as_told = (
            not _email_changed(linked, user, identity)
            and self._told(provider, linked, identity, keep_email=False, now=now) == linked
            and (not provider.update_profile or with_profile(user, provider, identity, now=now) == user)
        )
        if not is_as_told:
            return None
        cookie, session = self._start(provider, identity, user, user_agent)
        begun = self._begun(provider, identity, session, now=now)
        if not await self._sessions.begin_at_once(
            session, *begun, link=linked, interaction=interaction, provider=provider.name
        ):
            return None
        others = await self._sessions.make_room(accounts, user.id, now=now)
        return Arrived(new=NewSession(cookie, others), user_id=user.id)

    def _told(
        self, provider: Provider, before: LinkedAccount, identity: UpstreamIdentity, *, keep_email: bool, now: datetime
    ) -> LinkedAccount:
        """Return a known link with what the provider tells and gives now."""
        linked = told_again(before, identity, now=now, keep_email=keep_email)
        # It may have been set up anew under another name.
        return kept_token(self._keys, provider, replace(linked, provider=provider.name), identity)

    def _start(
        self, provider: Provider, identity: UpstreamIdentity, user: User, user_agent: str | None
    ) -> tuple[str, Session]:
        return self._sessions.start(
            user,
            acr=provider.acr.get(identity.acr or "", ACR_UPSTREAM),
            amr=_amr(provider, identity.amr),
            user_agent=user_agent,
            auth_time=identity.auth_time,
            auth_time_known=identity.auth_time is not None,
        )

    async def _unknown(
        self, tx: Transaction, provider: Provider, identity: UpstreamIdentity, next_path: str | None, *, now: datetime
    ) -> User | Arrived:
        """Return a new account, or whose has to be proven.

        Raises:
            UpstreamRefused: neither.
        """
        if identity.email is None:
            # Without an address there is no account to make, but perhaps one to prove.
            return Arrived()
        try:
            present = await self._whose(tx, identity, next_path, now=now)
        except UpstreamRefused:
            await _check_unknown(tx, identity)
            raise
        if present is not None:
            await _check_unknown(tx, identity)
            return Arrived(user_id=present.id, recreated=await _recreated(tx, present, identity))
        user = new_user(provider, identity, identity.email, now=now)
        await add_user(tx, user, None, actor=f"provider:{provider.name}", now=now)
        closed = await close_link(tx, user, next_path, now=now)
        if not closed and not await self._sign_up.allows(tx, identity, identity.email, next_path, now=now):
            raise Conflict("somebody else was first with the same link")
        return user

    async def _whose(
        self, tx: Transaction, identity: UpstreamIdentity, next_path: str | None, *, now: datetime
    ) -> User | None:
        """Return whose address an unknown person has; None where it is nobody's, and they may make an account.

        Raises:
            UpstreamRefused: UNVERIFIED_EMAIL, DISABLED, UNVERIFIED_ACCOUNT or NO_ACCOUNT.
        """
        email = identity.proven_email
        if email is None:
            if identity.email is None:
                return None
            raise UpstreamRefused(UpstreamFault.UNVERIFIED_EMAIL)
        present = await tx.users.find_by_identifier(email)
        if present is not None:
            check_linkable(present)
        elif not await self._sign_up.allows(tx, identity, email, next_path, now=now):
            raise UpstreamRefused(UpstreamFault.NO_ACCOUNT, email=email)
        return present

    def _begun(
        self, provider: Provider, identity: UpstreamIdentity, session: Session, *, now: datetime
    ) -> list[UpstreamSession]:
        """Return by which provider the session began, for signing out there as well; nothing where one cannot."""
        if not provider.logout or identity.id_token is None:
            return []
        sealed = seal(self._keys.seal, identity.id_token.encode(), associated=f"upstream-session:{session.id}")
        begun = UpstreamSession(session_id=session.id, provider=provider.name, sealed_id_token=sealed, created_at=now)
        return [begun]


async def _check_unknown(tx: Transaction, identity: UpstreamIdentity) -> None:
    """Check that an unknown person is one still.

    Raises:
        Conflict: another tab of theirs made an account between two statements of this one.
    """
    if await tx.linked_accounts.find_by_key(*identity.key) is not None:
        raise Conflict("the pair is known by now")


async def _recreated(tx: Transaction, user: User, identity: UpstreamIdentity) -> bool:
    """Whether another account of the same provider is linked with the user's already."""
    return any(each.issuer == identity.issuer for each in await tx.linked_accounts.of_user(user.id))


def check_linkable(user: User) -> None:
    """Check that somebody may prove this account, found by its address, and link it.

    Raises:
        UpstreamRefused: it may not be used, or its address may be anybody's: whoever wrote another's address into an
            account of theirs must not get it linked by whom the address belongs to.
    """
    if not user.active:
        raise UpstreamRefused(UpstreamFault.DISABLED, detail=f"account {user.id}")
    if not user.email_verified:
        raise UpstreamRefused(UpstreamFault.UNVERIFIED_ACCOUNT, detail=f"account {user.id}")


def link_of(provider: Provider, identity: UpstreamIdentity, user_id: str, *, now: datetime) -> LinkedAccount:
    """Return a new link."""
    blank = LinkedAccount(
        id=mint_id("la"),
        issuer=identity.issuer,
        sub=identity.sub,
        user_id=user_id,
        provider=provider.name,
        created_at=now,
    )
    return told_again(blank, identity, now=now)


def told_again(
    linked: LinkedAccount, identity: UpstreamIdentity, *, now: datetime, keep_email: bool = False
) -> LinkedAccount:
    """Return a link with what the provider tells now; when it was used is told to the hour."""
    used = linked.last_used_at
    name = identity.claims.get("name")
    told = isinstance(name, str) and storable(name) and bool(name.strip())
    return replace(
        linked,
        # What was verified once is not forgotten for what is not.
        email=linked.email if keep_email else identity.proven_email or linked.email or identity.email,
        name=str(name)[:_MAX_NAME_CHARS] if told else None,
        claims=_judged_claims(identity),
        last_used_at=used if used is not None and now - used < _TOUCH_AFTER else now,
    )


def _judged_claims(identity: UpstreamIdentity) -> dict[str, Any]:
    """Return what rules of labs look at; an address only if the provider can know that it is still theirs."""
    kept = kept_claims(identity.claims)
    return kept if identity.email_vouched else {name: value for name, value in kept.items() if name != "email"}


async def add_link(tx: Transaction, linked: LinkedAccount, *, actor: str, now: datetime) -> None:
    """Save a new link, and record it.

    Raises:
        Conflict: somebody else has the pair.
    """
    await tx.linked_accounts.add(linked)
    event = audit_event(
        AuditAction.LINKED_ACCOUNT_ADDED, actor=actor, target=linked.user_id, now=now, **described(linked)
    )
    await tx.audit_events.add(event)


def described(linked: LinkedAccount) -> dict[str, Any]:
    """Return what the audit log says of a link."""
    return {"provider": linked.provider, "link": linked.id}


def _email_changed(linked: LinkedAccount, user: User, identity: UpstreamIdentity) -> bool:
    """Whether the account's address is the one that the provider told, which tells another one now."""
    email = identity.proven_email
    return email is not None and linked.email is not None and email != linked.email and user.email == linked.email


async def _refreshed(
    tx: Transaction, provider: Provider, identity: UpstreamIdentity, user: User, *, now: datetime
) -> User:
    if not provider.update_profile:
        return user
    told = with_profile(user, provider, identity, now=now)
    if told != user:
        await save_user(tx, told, before=user)
        actor = f"provider:{provider.name}"
        await tx.audit_events.add(audit_event(AuditAction.USER_UPDATED, actor=actor, target=user.id, now=now))
    return told


def _amr(provider: Provider, told: Iterable[str]) -> tuple[str, ...]:
    return (AMR_UPSTREAM, *dict.fromkeys(provider.amr[method] for method in told if method in provider.amr))
