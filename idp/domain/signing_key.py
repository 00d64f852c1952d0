"""Keys that sign tokens, and the keys that protect what is stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class SigningKeyState(StrEnum):
    """`next` is published before it signs, `active` signs, `retired` is published until its last token has expired."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRED = "retired"
    REVOKED = "revoked"


class SigningAlgorithm(StrEnum):
    """Signature algorithms on offer (RFC 7518 §3.1, RFC 8037 §3.1)."""

    RS256 = "RS256"
    PS256 = "PS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """One key pair; the private half is sealed with the key id as associated data."""

    kid: str
    alg: SigningAlgorithm
    state: SigningKeyState
    public_jwk: Mapping[str, Any]
    sealed_private_key: bytes
    created_at: datetime
    activated_at: datetime | None = None
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """A random key for one purpose, wrapped by the key-encryption key."""

    purpose: str
    wrapped: bytes
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The one row that says which key-encryption key a database belongs to."""

    key_fingerprint: str
    created_at: datetime
    id: int = 1
