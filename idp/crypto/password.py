"""Password hashes: argon2id (RFC 9106) for ours, and the schemes that imported user tables bring along."""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import argon2
import bcrypt
from argon2.exceptions import VerifyMismatchError

_T = TypeVar("_T")
# Tells whether a password, as bytes, is the one that was hashed.
_Verifier = Callable[[bytes], bool]

_OURS = "$argon2id$"
# What one verification may cost at most: 256 MiB, and some seconds of one core in every scheme.
MAX_MEMORY_KIB = 256 * 1024
MAX_ARGON2_KIB_PASSES = 1024 * 1024
_MAX_ARGON2_LANES = 16
_MAX_PBKDF2_ITERATIONS = 5_000_000
_MAX_SCRYPT_BLOCKS = 2**22
_MAX_BCRYPT_COST = 15
# bcrypt never looked further, and version 5 of the package raises instead.
_BCRYPT_BYTES = 72
_SCRYPT_TAG_BYTES = 64


class PasswordCheck(NamedTuple):
    """Whether a password matches, and if so whether its hash should be replaced by one of ours, made today."""

    matches: bool
    rehash: bool


class HashingBusy(Exception):
    """Too many passwords are waiting to be hashed already."""

    retry_after_seconds: int = 1


class PasswordHasher:
    """Hashes and verifies on a few threads of its own, so that the event loop never waits.

    `queue_limit` is how many may wait for a free thread.
    """

    def __init__(
        self,
        *,
        memory_kib: int = 19456,
        time_cost: int = 2,
        parallelism: int = 1,
        threads: int = 2,
        queue_limit: int = 64,
    ) -> None:
        self._argon2 = argon2.PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        # Random where a hash would stand: costs as much to verify as any of ours, and matches nothing.
        salt, tag = _unpadded(secrets.token_bytes(16)), _unpadded(secrets.token_bytes(32))
        dummy = f"{_OURS}v=19$m={memory_kib},t={time_cost},p={parallelism}${salt}${tag}"
        verifier = _parse(dummy)
        if verifier is None:
            raise ValueError("these argon2 parameters are beyond what a later verification would accept")
        self._dummy = dummy, verifier
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="password")
        self._places = threading.BoundedSemaphore(threads + queue_limit)
        self._pending = 0

    async def hash(self, password: str) -> str:
        """Return the encoded argon2id hash of a password.

        Raises:
            HashingBusy: the queue is full.
        """
        return await self._run(lambda: self._argon2.hash(_normal(password)))

    async def verify(self, encoded: str | None, password: str) -> PasswordCheck:
        """Compare a password with a stored hash.

        Without a hash, or with one of no supported scheme, nothing matches but the work is done all the same: the
        time does not tell whether the account exists, save for an imported hash, which takes its own.

        Raises:
            HashingBusy: the queue is full.
        """
        return await self._run(lambda: self._check(encoded, password))

    @property
    def waiting(self) -> int:
        """How many requests wait for a hash, for the metrics."""
        return self._pending

    def close(self) -> None:
        """Finish what is being hashed, drop what waits, and end the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def _run(self, work: Callable[[], _T]) -> _T:
        if not self._places.acquire(blocking=False):
            raise HashingBusy
        future = self._threads.submit(work)
        # Tied to the work, not to the request: whoever gives up waiting keeps the thread busy still.
        future.add_done_callback(lambda _: self._places.release())
        self._pending += 1
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._pending -= 1

    def _check(self, encoded: str | None, password: str) -> PasswordCheck:
        verifier = _parse(encoded) if encoded is not None else None
        if encoded is None or verifier is None:
            encoded, verifier = self._dummy
        as_typed, normal = _utf8(password), _normal(password)
        if not encoded.startswith(_OURS):
            matches = verifier(as_typed)
            return PasswordCheck(matches, rehash=matches)
        if verifier(normal):
            return PasswordCheck(True, rehash=self._argon2.check_needs_rehash(encoded))
        # Others write argon2id hashes too, and may not have normalised.
        matches = normal != as_typed and verifier(as_typed)
        return PasswordCheck(matches, rehash=matches)


def is_supported_hash(encoded: str) -> bool:
    """Whether a stored hash is of a known scheme, well formed, and asks for a bearable amount of work."""
    return _parse(encoded) is not None


def _normal(password: str) -> bytes:
    # The same letters typed on another keyboard may come decomposed (RFC 8265 §4.2.2).
    return _utf8(unicodedata.normalize("NFC", password))


def _utf8(text: str) -> bytes:
    # A lone surrogate is no text, but somebody may send one; that is a wrong password, not a crash.
    return text.encode("utf-8", "surrogatepass")


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def _parse(encoded: str) -> _Verifier | None:
    for pattern, scheme in _SCHEMES:
        if match := pattern.fullmatch(encoded):
            try:
                return scheme(**{name: value for name, value in match.groupdict().items() if value is not None})
            except ValueError:
                return None
    return None


def _argon2id(*, encoded: str, m: str, t: str, p: str, salt: str, tag: str) -> _Verifier | None:
    memory, passes, lanes = int(m), int(t), int(p)
    if memory > MAX_MEMORY_KIB or memory * passes > MAX_ARGON2_KIB_PASSES:
        return None
    if lanes > _MAX_ARGON2_LANES or memory < 8 * lanes:
        return None
    if any(_unpadded(base64.b64decode(part + "=" * (-len(part) % 4))) != part for part in (salt, tag)):
        return None

    def verify(password: bytes) -> bool:
        try:
            return argon2.low_level.verify_secret(encoded.encode("ascii"), password, argon2.Type.ID)
        except VerifyMismatchError:
            return False

    return verify


def _bcrypt(*, encoded: str, cost: str, prehashed: str | None = None) -> _Verifier | None:
    if not 4 <= int(cost) <= _MAX_BCRYPT_COST:
        return None

    def verify(password: bytes) -> bool:
        if prehashed is not None:
            password = hashlib.sha256(password).hexdigest().encode()
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], encoded.encode("ascii"))

    return verify


def _pbkdf2(*, digest: str, iterations: str, salt: str, tag_hex: str = "", tag_b64: str = "") -> _Verifier | None:
    tag, rounds = _tag(tag_hex, tag_b64), int(iterations)
    if len(tag) != hashlib.new(digest).digest_size or rounds > _MAX_PBKDF2_ITERATIONS:
        return None
    return lambda password: hmac.compare_digest(hashlib.pbkdf2_hmac(digest, password, _utf8(salt), rounds), tag)


def _scrypt(*, n: str, r: str, p: str, salt: str, tag_hex: str = "", tag_b64: str = "") -> _Verifier | None:
    tag, cost, block, lanes = _tag(tag_hex, tag_b64), int(n), int(r), int(p)
    memory_bytes = 128 * block * (cost + lanes + 2)
    if len(tag) != _SCRYPT_TAG_BYTES or memory_bytes > MAX_MEMORY_KIB * 1024:
        return None
    # RFC 7914 §6: a power of two above 1 and below 2^(16 r).
    if cost < 2 or cost & (cost - 1) or cost.bit_length() > 16 * block or cost * block * lanes > _MAX_SCRYPT_BLOCKS:
        return None
    return lambda password: hmac.compare_digest(
        hashlib.scrypt(password, salt=_utf8(salt), n=cost, r=block, p=lanes, maxmem=memory_bytes, dklen=len(tag)), tag
    )


def _tag(tag_hex: str, tag_b64: str) -> bytes:
    return bytes.fromhex(tag_hex) or base64.b64decode(tag_b64, validate=True)


_NUMBER = "[1-9][0-9]{0,9}"
_SALT = r"(?P<salt>[^$]{1,128})"
_HEX = "(?P<tag_hex>[0-9a-f]{1,128})"
_BASE64 = "(?P<tag_b64>[A-Za-z0-9+/=]{1,128})"
_SCHEMES: tuple[tuple[re.Pattern[str], Callable[..., _Verifier | None]], ...] = (
    (  # ours and everybody's; Django writes its own name before
        re.compile(
            rf"(?:argon2)?(?P<encoded>\$argon2id\$v=19\$m=(?P<m>{_NUMBER}),t=(?P<t>{_NUMBER}),p=(?P<p>{_NUMBER})"
            r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<tag>[A-Za-z0-9+/]{22,86}))"
        ),
        _argon2id,
    ),
    (  # alone, or of Django's SHA-256 of the password; the odd class is what 128 bits leave of a base64 character
        re.compile(
            r"(?P<prehashed>bcrypt_sha256\$)?"
            r"(?P<encoded>\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31})"
        ),
        _bcrypt,
    ),
    (re.compile(rf"scrypt:(?P<n>{_NUMBER}):(?P<r>{_NUMBER}):(?P<p>{_NUMBER})\${_SALT}\${_HEX}"), _scrypt),
    (re.compile(rf"scrypt\$(?P<n>{_NUMBER})\${_SALT}\$(?P<r>{_NUMBER})\$(?P<p>{_NUMBER})\${_BASE64}"), _scrypt),
    (re.compile(rf"pbkdf2:(?P<digest>sha1|sha256|sha512):(?P<iterations>{_NUMBER})\${_SALT}\${_HEX}"), _pbkdf2),
    (re.compile(rf"pbkdf2_(?P<digest>sha1|sha256)\$(?P<iterations>{_NUMBER})\${_SALT}\${_BASE64}"), _pbkdf2),
)
