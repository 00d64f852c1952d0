"""Mailed proofs of an address: kept by hash, sealed, and limited for each address, whoever has it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.envelope import CannotUnseal, seal, unseal
from idp.crypto.opaque import hash_token, mac
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.mailed_proof import MailedProof, ProofPurpose
from idp.domain.user import User
from idp.services.audit import audit_event, caller_address
from idp.services.input import Email, Input
from idp.services.installation import DataKeys
from idp.services.rate_limit import RateLimits
from idp.services.upstream_visits import Onward
from idp.store.errors import NotFound
from idp.store.store import Store, Transaction

# The name under which the limit for each network stands (see `rate_limit.RateLimits`).
LIMIT = "mail"
# What one address is sent for one purpose, known here or not: the answers are the same for all.
MAILS_PER_ADDRESS = 5
_WINDOW = timedelta(hours=1)


class AddressInput(Input):
    """An address to which something is to be mailed."""

    email: Email


class ProofGone(Exception):
    """The code or link is unknown, used, expired, of another browser, or was tried too often."""


class TooManyMails(Exception):
    """The address was sent as many as it may be for now; `minutes` until the next one."""

    def __init__(self, minutes: int) -> None:
        super().__init__(f"too many mails to one address; again in {minutes} minutes")
        self.minutes = minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a proof is for: whose address, where they go on to, and what else was remembered."""

    email: str
    onward: Onward
    more: Mapping[str, Any]


class MailedProofs:
    """Keeps proofs."""

    def __init__(self, store: Store, keys: DataKeys, rate_limits: RateLimits, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._rate_limits = rate_limits
        self._clock = clock

    async def limit(self) -> None:
        """Count one mail that the caller's network asks for.

        Raises:
            TooManyRequests: it has asked for too many.
        """
        await self._rate_limits.hit(LIMIT, caller_address.get())

    async def add(
        self,
        tx: Transaction,
        purpose: ProofPurpose,
        token: str,
        asked: Asked,
        *,
        browser: str,
        user: User | None,
        lifetime: timedelta,
        secret: str = "",
    ) -> None:
        """Remember a proof that is being mailed, or that nobody can give.

        Raises:
            TooManyMails: the address had its share.
        """
        now, address = self._clock(), self.address_of(purpose, asked.email)
        await self.count(tx, address)
        document = json.dumps({"email": asked.email, "onward": asdict(asked.onward), "more": dict(asked.more)})
        hashed = hash_token(token)
        await tx.mailed_proofs.add(
            MailedProof(
                hash=hashed,
                purpose=purpose,
                address=address,
                browser=browser,
                user_id=None if user is None else user.id,
                sealed=seal(self._keys.seal, document.encode(), associated=_place(purpose, hashed)),
                secret=secret,
                created_at=now,
                sent_at=now,
                expires_at=now + lifetime,
            )
        )

    async def count(self, tx: Transaction, address: str) -> None:
        """Check that an address may be sent one more, and let nobody else send to it until the transaction ends.

        Raises:
            TooManyMails: it had its share.
        """
        await tx.mailed_proofs.hold_address(address)
        now = self._clock()
        sent, first = await tx.mailed_proofs.count_sent(address, since=now - _WINDOW)
        if sent >= MAILS_PER_ADDRESS and first is not None:
            raise TooManyMails(max(1, int((first + _WINDOW - now) / timedelta(minutes=1)) + 1))

    def address_of(self, purpose: ProofPurpose, email: str) -> str:
        """Return under which hash mails to an address are counted: it does not tell the address."""
        return mac(self._keys.lookup, f"mailed-proof:{purpose}:{email}")

    async def find(self, token: str, purpose: ProofPurpose) -> tuple[MailedProof, Asked]:
        """Return a proof that can be given still, and what it is for.

        Raises:
            ProofGone: there is none.
        """
        async with self._store.read() as tx:
            proof = await tx.mailed_proofs.find(hash_token(token))
        return self.opened(proof, purpose)

    async def lock(self, tx: Transaction, token: str, purpose: ProofPurpose) -> tuple[MailedProof, Asked]:
        """Return the same, held against others until the transaction ends.

        Raises:
            ProofGone: there is none.
        """
        try:
            proof = await tx.mailed_proofs.lock(hash_token(token))
        except NotFound:
            raise ProofGone from None
        return self.opened(proof, purpose)

    async def use(self, tx: Transaction, proof: MailedProof) -> None:
        """Use a proof up within a transaction.

        Raises:
            ProofGone: somebody was faster.
        """
        if not await tx.mailed_proofs.use(proof.hash, now=self._clock()):
            raise ProofGone

    def opened(self, proof: MailedProof | None, purpose: ProofPurpose) -> tuple[MailedProof, Asked]:
        """Return a proof and what it is for.

        Raises:
            ProofGone: there is none, it is for something else, or it cannot be given any more.
        """
        if proof is None or proof.purpose is not purpose or not proof.valid(now=self._clock()):
            raise ProofGone
        try:
            document = json.loads(unseal(self._keys.seal, proof.sealed, associated=_place(purpose, proof.hash)))
        except CannotUnseal:
            raise ProofGone from None
        return proof, Asked(email=document["email"], onward=Onward(**document["onward"]), more=document["more"])


async def find_reached(tx: Transaction, email: str, *, signed_in: bool = False) -> User | None:
    """Return whose account a mail to an address may give access to; None where there is none, with as many look-ups.

    An address that nobody verified may have been written down by whoever came through another provider: whom it
    belongs to must not end up in an account that somebody else can use too. It counts for who is `signed_in` to it.
    """
    user = await tx.users.find_by_identifier(email)
    linked = await tx.linked_accounts.of_user("" if user is None else user.id)
    if user is None or not user.active:
        return None
    return user if user.email_verified or not linked or signed_in else None


async def verify_address(tx: Transaction, user: User, *, now: datetime) -> User:
    """Return the user, whose address was just proven, as such."""
    if user.email_verified:
        return user
    changed = replace(user, email_verified=True, updated_at=now)
    await tx.users.save(changed)
    event = audit_event(AuditAction.USER_UPDATED, actor=user.id, target=user.id, now=now, fields=["email_verified"])
    await tx.audit_events.add(event)
    return changed


def _place(purpose: ProofPurpose, hashed: str) -> str:
    return f"mailed-proof:{purpose}:{hashed}"
