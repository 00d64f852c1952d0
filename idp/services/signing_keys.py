"""The ring of signing keys: next is published before it signs, retired until what it signed has expired."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.envelope import seal, unseal
from idp.crypto.jose import Signer, generate_key
from idp.domain.audit import AuditAction
from idp.domain.clock import Clock
from idp.domain.signing_key import SigningAlgorithm, SigningKey, SigningKeyState
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.store.errors import Conflict
from idp.store.store import Store, Transaction

# How old the ring in memory may be; other nodes learn of a rotation within this time.
RING_AGE = timedelta(seconds=5)
# Public keys verify id_token_hints this long after they left JWKS.
HINT_MEMORY = timedelta(days=365)


class KeyNotReady(Exception):
    """A rotation came before the next key was published for long enough; the text says when it will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTimes:
    """How long things live: what verifiers may cache, what is signed, and when to rotate (zero: only by hand)."""

    jwks_max_age: timedelta
    longest_token: timedelta
    rotation: timedelta

    @property
    def publication(self) -> timedelta:
        """How long a key is published before it signs: longer than any cache that obeys, and than our own."""
        return self.jwks_max_age + 2 * RING_AGE

    def published(self, key: SigningKey, *, now: datetime) -> bool:
        """Whether the key stands in JWKS: until the last token it signed has expired, one ring age later."""
        if key.state is SigningKeyState.REVOKED:
            return False
        return key.retired_at is None or now < key.retired_at + self.longest_token + RING_AGE


@dataclass(frozen=True, slots=True)
class _Ring:
    loaded_at: datetime
    signers: Mapping[SigningAlgorithm, Signer]
    jwks: bytes
    verification_keys: Sequence[Mapping[str, Any]]


class SigningKeys:
    """Signs with the active key of each algorithm and publishes the public halves.

    Private keys are parsed once a process; the ring is read anew when it is older than `RING_AGE`.
    """

    def __init__(self, store: Store, keys: DataKeys, clock: Clock, times: KeyTimes) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._times = times
        self._signers: dict[str, Signer] = {}
        self._ring: _Ring | None = None

    async def signer(self, alg: SigningAlgorithm) -> Signer:
        """Return the active signer of an algorithm."""
        return (await self._current()).signers[alg]

    async def jwks(self) -> bytes:
        """Return the JWK Set (RFC 7517 §5) as it is served."""
        return (await self._current()).jwks

    async def verification_keys(self) -> Sequence[Mapping[str, Any]]:
        """Return the public keys of everything signed within the last year, for id_token_hints."""
        return (await self._current()).verification_keys

    async def keys(self) -> list[SigningKey]:
        """Return every key, by algorithm and age."""
        async with self._store.read() as tx:
            keys = await tx.signing_keys.all()
        return sorted(keys, key=lambda key: (key.alg, key.created_at))

    async def ensure(self) -> None:
        """Make what is missing: an active and a next key for each algorithm; only one node does it."""
        keys = await self.keys()
        held = {(key.alg, key.state) for key in keys}
        if all((alg, state) in held for alg in SigningAlgorithm for state in _STANDING):
            return
        now = self._clock()
        try:
            async with self._store.write() as tx:
                await tx.installations.lock(1)
                held = {(key.alg, key.state) for key in await tx.signing_keys.all()}
                for alg in SigningAlgorithm:
                    for state in _STANDING:
                        if (alg, state) not in held:
                            await tx.signing_keys.add(self._generate(alg, state, now))
        except Conflict:
            return

    async def rotate(self, *, actor: str, even_if_unpublished: bool = False) -> list[SigningKey]:
        """Let every next key sign, retire the active ones, and prepare new next ones; return the now active keys.

        Raises:
            KeyNotReady: verifiers that cache JWKS as told might not know a next key yet.
        """
        async with self._store.write() as tx:
            # Within the lock, so that of several nodes exactly one rotates.
            await tx.installations.lock(1)
            now = self._clock()
            keys = await tx.signing_keys.all()
            ready_at = (
                max(key.created_at for key in keys if key.state is SigningKeyState.NEXT) + self._times.publication
            )
            if now < ready_at and not even_if_unpublished:
                raise KeyNotReady(
                    f"the next keys may sign from {ready_at:%Y-%m-%d %H:%M:%S} UTC, when every cached JWKS holds them"
                )
            active = await self._promote(tx, keys, now)
            event = audit_event(
                AuditAction.SIGNING_KEYS_ROTATED,
                actor=actor,
                target="signing_keys",
                now=now,
                kids=[k.kid for k in active],
            )
            await tx.audit_events.add(event)
        self._ring = None
        return active

    async def rotate_when_due(self) -> bool:
        """Rotate when the schedule says so and the next keys are known; whether it happened."""
        if not self._times.rotation:
            return False
        keys = await self.keys()
        active_since = min(
            (key.activated_at for key in keys if key.state is SigningKeyState.ACTIVE and key.activated_at is not None),
            default=None,
        )
        if active_since is None or self._clock() < active_since + self._times.rotation:
            return False
        try:
            await self.rotate(actor="schedule")
        except KeyNotReady:
            return False
        return True

    async def revoke(self, kid: str, *, actor: str) -> SigningKey:
        """Take a compromised key out of JWKS at once; an active one is replaced by its next.

        Raises:
            NotFound: there is no such key.
        """
        async with self._store.write() as tx:
            await tx.installations.lock(1)
            now = self._clock()
            key = await tx.signing_keys.get(kid)
            same = [other for other in await tx.signing_keys.all() if other.alg is key.alg]
            if key.state is SigningKeyState.ACTIVE:
                await self._promote(tx, same, now)
            elif key.state is SigningKeyState.NEXT:
                await tx.signing_keys.add(self._generate(key.alg, SigningKeyState.NEXT, now))
            revoked = replace(key, state=SigningKeyState.REVOKED, retired_at=key.retired_at or now)
            await tx.signing_keys.save(revoked)
            event = audit_event(AuditAction.SIGNING_KEY_REVOKED, actor=actor, target=kid, now=now)
            await tx.audit_events.add(event)
        self._ring = None
        return revoked

    async def _promote(self, tx: Transaction, keys: Sequence[SigningKey], now: datetime) -> list[SigningKey]:
        promoted = []
        for key in keys:
            if key.state is SigningKeyState.ACTIVE:
                await tx.signing_keys.save(replace(key, state=SigningKeyState.RETIRED, retired_at=now))
            elif key.state is SigningKeyState.NEXT:
                active = replace(key, state=SigningKeyState.ACTIVE, activated_at=now)
                await tx.signing_keys.save(active)
                await tx.signing_keys.add(self._generate(key.alg, SigningKeyState.NEXT, now))
                promoted.append(active)
        return promoted

    def _generate(self, alg: SigningAlgorithm, state: SigningKeyState, now: datetime) -> SigningKey:
        private_key, public_jwk = generate_key(alg)
        kid = public_jwk["kid"]
        return SigningKey(
            kid=kid,
            alg=alg,
            state=state,
            public_jwk=public_jwk,
            sealed_private_key=seal(self._keys.seal, private_key, associated=f"signing-key:{kid}"),
            created_at=now,
            activated_at=now if state is SigningKeyState.ACTIVE else None,
        )

    async def _current(self) -> _Ring:
        ring = self._ring
        now = self._clock()
        if ring is None or now - ring.loaded_at >= RING_AGE:
            ring = self._ring = self._build(await self.keys(), now)
        return ring

    def _build(self, keys: Sequence[SigningKey], now: datetime) -> _Ring:
        active = {key.alg: self._signer(key) for key in keys if key.state is SigningKeyState.ACTIVE}
        published = [dict(key.public_jwk) for key in keys if self._times.published(key, now=now)]
        remembered = [
            key.public_jwk
            for key in keys
            if key.state is not SigningKeyState.REVOKED
            and (key.retired_at is None or now < key.retired_at + HINT_MEMORY)
        ]
        jwks = json.dumps({"keys": published}, separators=(",", ":")).encode()
        return _Ring(now, active, jwks, remembered)

    def _signer(self, key: SigningKey) -> Signer:
        signer = self._signers.get(key.kid)
        if signer is None:
            private_key = unseal(self._keys.seal, key.sealed_private_key, associated=f"signing-key:{key.kid}")
            signer = self._signers[key.kid] = Signer(key.kid, key.alg, private_key)
        return signer


_STANDING = (SigningKeyState.ACTIVE, SigningKeyState.NEXT)
