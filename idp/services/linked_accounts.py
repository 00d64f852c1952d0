"""The accounts at other providers that sign somebody in: connecting, taking away, and what changed there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from idp.crypto.opaque import hash_token
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.credential import CredentialKind
from idp.domain.mail import MailPurpose
from idp.domain.provider import Provider
from idp.domain.upstream import LinkedAccount
from idp.domain.user import User
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.services.accounts import save_user
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.services.lab_rules import follow_rules, forget_linked
from idp.services.mail import Outbox
from idp.services.providers import Providers
from idp.services.sessions import NotRecent, Sessions, SignedIn
from idp.services.upstream_arrival import add_link, check_linkable, described, link_of
from idp.services.upstream_tokens import kept_token
from idp.services.upstream_visits import Purpose, Returned, VisitGone
from idp.store.errors import Conflict
from idp.store.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """One link as its page shows it; without a `provider` it is one that is not offered here any more."""

    account: LinkedAccount
    provider: Provider | None
    removable: bool


class LinkedAccounts:
    """Connects accounts with others at providers."""

    def __init__(
        self,
        store: Store,
        keys: DataKeys,
        providers: Providers,
        sessions: Sessions,
        outbox: Outbox,
        clock: Clock,
        *,
        issuer: str,
    ) -> None:
        self._store = store
        self._keys = keys
        self._providers = providers
        self._sessions = sessions
        self._outbox = outbox
        self._clock = clock
        self._issuer = issuer

    async def of(self, user: User) -> Sequence[Linked]:
        """Return somebody's links, the oldest first."""
        providers = await self._providers.shown()
        async with self._store.read() as tx:
            held = await tx.linked_accounts.of_user(user.id)
            has_password = await _has_password(tx, user)
        usable = {provider.issuer: provider for provider in providers}
        return [
            Linked(
                account=account,
                provider=usable.get(account.issuer),
                removable=has_password or _others(held, account, usable),
            )
            for account in held
        ]

    async def linkable(self, returned: Returned) -> User | None:
        """Return whose account the one at the provider would be linked to, as it is now; None for anybody's.

        Raises:
            VisitGone: the account is gone.
            UpstreamRefused: it cannot be linked.
        """
        if returned.user_id is None:
            return None
        async with self._store.read() as tx:
            user = await tx.users.find(returned.user_id)
        if user is None:
            raise VisitGone
        if returned.by_address:
            check_linkable(user)
        return user

    async def link(self, provider: Provider, handle: str, returned: Returned, signed_in: SignedIn) -> None:
        """Link whom the provider vouched for with who is signed in, who has just said so.

        Raises:
            NotRecent: who is signed in has to prove it first.
            VisitGone: it was answered before, or is about somebody else's account.
            UpstreamRefused: LINKED_ELSEWHERE: another account here has the pair; or see `linkable`.
        """
        if not self._sessions.is_recent(signed_in.session):
            raise NotRecent
        now, issuers = self._clock(), await self._providers.issuers()
        try:
            async with self._store.write() as tx:
                user = await tx.users.lock(signed_in.user.id)
                if returned.purpose is not Purpose.LINK or returned.user_id not in (None, user.id) or not user.active:
                    raise VisitGone
                if returned.by_address:
                    check_linkable(user)
                if not await tx.upstream_visits.use(hash_token(handle), now=now):
                    raise VisitGone
                found = await tx.linked_accounts.find_by_key(*returned.identity.key)
                if found is not None and found[1].id != user.id:
                    raise UpstreamRefused(UpstreamFault.LINKED_ELSEWHERE)
                if found is None:
                    linked = link_of(provider, returned.identity, user.id, now=now)
                    linked = kept_token(self._keys, provider, linked, returned.identity)
                    await add_link(tx, linked, actor=user.id, now=now)
                    await follow_rules(tx, user.id, linked, issuers, now=now)
                    await self._tell(tx, MailPurpose.LINKED_ACCOUNT_ADDED, user, linked, provider.display_name)
                if returned.onward.handle is not None:
                    # They signed in for the sake of this request.
                    await tx.interactions.sign_in(hash_token(returned.onward.handle), session_id=signed_in.session.id)
        except Conflict:
            raise UpstreamRefused(UpstreamFault.LINKED_ELSEWHERE) from None
        self._outbox.wake()

    async def leave_unlinked(self, handle: str, returned: Returned, signed_in: SignedIn) -> None:
        """Use the page up: whoever sits at this browser next is not asked again, nor who said no."""
        async with self._store.write() as tx:
            await tx.upstream_visits.use(hash_token(handle), now=self._clock())
            if returned.onward.handle is not None:
                await tx.interactions.sign_in(hash_token(returned.onward.handle), session_id=signed_in.session.id)

    async def unlink(self, signed_in: SignedIn, link_id: str) -> LinkedAccount | None:
        """Take a link away and return it, and sign the person out elsewhere; None when there was none.

        Raises:
            NotRecent: see `link`.
            UpstreamRefused: LAST_WAY_IN: nothing else would sign the person in.
        """
        if not self._sessions.is_recent(signed_in.session):
            raise NotRecent
        now, issuers = self._clock(), await self._providers.issuers()
        usable = {provider.issuer: provider for provider in await self._providers.shown()}
        async with self._store.write() as tx:
            # One at a time, so that two do not take away each other's last way in.
            user = await tx.users.lock(signed_in.user.id)
            held = await tx.linked_accounts.of_user(user.id)
            linked = next((account for account in held if account.id == link_id), None)
            if linked is None:
                return None
            if not await _has_password(tx, user) and not _others(held, linked, usable):
                raise UpstreamRefused(UpstreamFault.LAST_WAY_IN)
            await tx.linked_accounts.delete(linked.id)
            await forget_linked(tx, linked, issuers, now=now)
            event = audit_event(
                AuditAction.LINKED_ACCOUNT_REMOVED, actor=user.id, target=user.id, now=now, **described(linked)
            )
            await tx.audit_events.add(event)
            provider = usable.get(linked.issuer)
            name = linked.provider if provider is None else provider.display_name
            await self._tell(tx, MailPurpose.LINKED_ACCOUNT_REMOVED, user, linked, name)
        self._outbox.wake()
        # Whoever came in by it must not stay in without it.
        await self._sessions.end_others(signed_in, now=now)
        return linked

    async def is_taken(self, returned: Returned) -> bool:
        """Whether the address that the provider knows now belongs to another account here."""
        email = returned.identity.proven_email
        if email is None:
            return True
        async with self._store.read() as tx:
            user = await tx.users.find_by_identifier(email)
        return user is not None and user.id != returned.user_id

    async def settle_address(self, handle: str, returned: Returned, signed_in: SignedIn, *, use: bool) -> None:
        """Take over the address that changed at the provider, or keep the old one; either is asked only once.

        Raises:
            VisitGone: it was answered before, or is about somebody else's account.
        """
        try:
            await self._settle(handle, returned, signed_in, use=use)
        except Conflict:
            # Somebody else took the address at this moment.
            await self._settle(handle, returned, signed_in, use=False)
        self._outbox.wake()

    async def _settle(self, handle: str, returned: Returned, signed_in: SignedIn, *, use: bool) -> None:
        now, email = self._clock(), returned.identity.proven_email
        async with self._store.write() as tx:
            user = await tx.users.lock(signed_in.user.id)
            if returned.purpose is not Purpose.ADDRESS or returned.user_id != user.id or email is None:
                raise VisitGone
            if not await tx.upstream_visits.use(hash_token(handle), now=now):
                raise VisitGone
            found = await tx.linked_accounts.find_by_key(*returned.identity.key)
            if found is None or found[1].id != user.id:
                raise VisitGone
            await tx.linked_accounts.save(replace(found[0], email=email))
            if use and await tx.users.find_by_identifier(email) is None:
                vouched = returned.identity.email_vouched
                changed = replace(user, email=email, email_verified=vouched, updated_at=now)
                await save_user(tx, changed, before=user)
                event = audit_event(AuditAction.USER_UPDATED, actor=user.id, target=user.id, now=now, fields=["email"])
                await tx.audit_events.add(event)
                if user.email is not None:
                    context = {"new": email, "at": now, "url": f"{self._issuer}/account/linked"}
                    purpose = MailPurpose.EMAIL_CHANGED
                    await self._outbox.put(tx, to=user.email, purpose=purpose, context=context, now=now)

    async def _tell(
        self, tx: Transaction, purpose: MailPurpose, user: User, linked: LinkedAccount, provider: str
    ) -> None:
        """Let the person know by mail: if it was not them, they have to hear of it."""
        if user.email is None:
            return
        now = self._clock()
        context = {"provider": provider, "label": linked.label, "at": now, "url": f"{self._issuer}/account/linked"}
        await self._outbox.put(tx, to=user.email, purpose=purpose, context=context, now=now)


async def _has_password(tx: Transaction, user: User) -> bool:
    return await tx.credentials.find_of(user.id, CredentialKind.PASSWORD) is not None


def _others(held: Sequence[LinkedAccount], linked: LinkedAccount, usable: dict[str, Provider]) -> bool:
    """Whether another link still signs its person in."""
    return any(account.id != linked.id and account.issuer in usable for account in held)
