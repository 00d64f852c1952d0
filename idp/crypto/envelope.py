"""Secrets that must be readable again, sealed with AES-256-GCM (NIST SP 800-38D)."""

import hashlib
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16


class CannotUnseal(Exception):
    """The sealed bytes were altered, belong to another place, or were sealed with another key."""


def seal(key: bytes, plaintext: bytes, *, associated: str) -> bytes:
    """Encrypt `plaintext` so that only `key`, at the place named by `associated`, opens it.

    Returns the random nonce, the ciphertext and the tag in one.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher(key).encrypt(nonce, plaintext, associated.encode())


def unseal(key: bytes, sealed: bytes, *, associated: str) -> bytes:
    """Return what was sealed.

    Raises:
        CannotUnseal: other key, other `associated`, or altered bytes.
    """
    cipher = _cipher(key)
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise CannotUnseal("too short to be sealed")
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated.encode())
    except InvalidTag:
        raise CannotUnseal("sealed with another key, for another place, or altered since") from None


def fingerprint(key: bytes) -> str:
    """A short name of a key that tells nothing about it, for the database and for messages."""
    return hashlib.sha256(b"lab-id key-encryption key" + key).hexdigest()[:16]


def _cipher(key: bytes) -> AESGCM:
    # AESGCM would take 16 bytes too, and silently mean AES-128.
    if len(key) != _KEY_BYTES:
        raise ValueError(f"an AES-256 key has {_KEY_BYTES} bytes")
    return AESGCM(key)
