"""Making an account for somebody for whom another provider vouches, and taking over what it tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from idp.crypto.opaque import hash_token, mint_id
from idp.domain.invitation import Invitation, InvitationStatus
from idp.domain.provider import Provider
from idp.domain.sign_up import SignUpPolicy, may_sign_up
from idp.domain.upstream import UpstreamIdentity
from idp.domain.user import PROFILE_CLAIMS, User
from idp.services.accounts import AccountRefused, UserInput
from idp.store.errors import Conflict
from idp.store.store import Transaction

_INVITATION = "/invitations/"


@dataclass(frozen=True, slots=True)
class SignUp:
    """Who may make an account by themselves: IDP_REGISTRATION and IDP_REGISTRATION_DOMAINS."""

    policy: SignUpPolicy
    domains: tuple[str, ...] = ()

    async def allows(
        self, tx: Transaction, identity: UpstreamIdentity, email: str, next_path: str | None, *, now: datetime
    ) -> bool:
        """Whether somebody with this verified address may; `next_path` may be the invitation that they follow."""
        if identity.email_vouched:
            return await self.allows_address(tx, email, next_path, now=now)
        # It was theirs once: that opens neither their former organisation's door nor somebody else's mail.
        by_link = await _link_of(tx, next_path, now=now) is not None
        return self.policy is SignUpPolicy.OPEN or (by_link and self.policy is not SignUpPolicy.CLOSED)

    async def allows_address(self, tx: Transaction, email: str, next_path: str | None, *, now: datetime) -> bool:
        """Whether whoever proves this address may; the policy `closed` lets nobody in."""
        by_link = await _link_of(tx, next_path, now=now) is not None
        invited = by_link or bool(await tx.invitations.open_for(email, now=now))
        return may_sign_up(self.policy, email, domains=self.domains, invited=invited)

    def offered(self, next_path: str | None) -> bool:
        """Whether to show the way to whoever signs in, by the policy and by where they go on to."""
        if self.policy is SignUpPolicy.INVITE:
            return next_path is not None and next_path.startswith(_INVITATION)
        return self.policy is not SignUpPolicy.CLOSED


async def close_link(tx: Transaction, user: User, next_path: str | None, *, now: datetime) -> bool:
    """Let the link by which somebody made an account be theirs from now on: it makes no second one.

    Returns False where there is none: whoever let them in because of it looks again, since it may be another's now.

    Raises:
        Conflict: somebody else was first with it.
    """
    found = await _link_of(tx, next_path, now=now)
    if found is not None:
        # The lab first, as wherever its people change.
        await tx.labs.lock(found.lab_id)
        invitation = await tx.invitations.lock(found.id)
        if invitation.bound_to is not None or invitation.status(now=now) is not InvitationStatus.OPEN:
            raise Conflict("somebody else was first with the same link")
        await tx.invitations.save(replace(invitation, bound_to=user.id))
    return found is not None


async def _link_of(tx: Transaction, next_path: str | None, *, now: datetime) -> Invitation | None:
    """Return the invitation that a link leads to, if it is for whoever gets it; one that was mailed opens nothing."""
    if next_path is None or not next_path.startswith(_INVITATION):
        return None
    invitation = await tx.invitations.find_by_hash(hash_token(next_path.removeprefix(_INVITATION)))
    if invitation is None or invitation.email is not None or invitation.bound_to is not None:
        return None
    return invitation if invitation.status(now=now) is InvitationStatus.OPEN else None


def new_user(provider: Provider, identity: UpstreamIdentity, email: str, *, now: datetime) -> User:
    """Return the account of somebody who comes for the first time; their address counts as far as is known of it."""
    vouched = identity.email_vouched
    blank = User(id=mint_id("u"), email=email, email_verified=vouched, created_at=now, updated_at=now)
    return with_profile(blank, provider, identity, now=now)


def with_profile(user: User, provider: Provider, identity: UpstreamIdentity, *, now: datetime) -> User:
    """Return the user with what the provider tells of them, by its mapping; what cannot be stored is passed over.

    The address is not among it: what becomes of one that changed is the person's to say.
    """
    told = _storable(
        {
            ours: identity.claims[theirs]
            for ours, theirs in provider.claims.items()
            if ours in _TAKEN and identity.claims.get(theirs) not in (None, "")
        }
    )
    if not told:
        return user
    profile = {**user.profile, **{claim: value for claim, value in told.items() if claim != "name"}}
    changed = replace(user, name=told.get("name", user.name), profile=profile)
    return user if changed == user else replace(changed, updated_at=now)


# What only we can verify is never taken over.
_TAKEN = {"name", *PROFILE_CLAIMS} - {"phone_number_verified"}


def _storable(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what our own rules for accounts accept, as they write it."""
    # Some address or user name is needed, and neither is read again.
    needed = {"username": "upstream"}
    while told:
        try:
            given = UserInput.read({**needed, **told})
        except AccountRefused as refused:
            wrong = {place[0] for place in refused.faults}
            told = {claim: value for claim, value in told.items() if claim not in wrong}
        else:
            return given.model_dump(include=set(told), exclude_none=True)
    return {}
