"""What proves that somebody is a user."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class CredentialKind(StrEnum):
    """Ways to prove an account; others join with their own kinds."""

    PASSWORD = "password"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """One proof of one user; for a password, `secret` is its encoded hash."""

    id: str
    user_id: str
    kind: CredentialKind
    secret: str
    created_at: datetime
    last_used_at: datetime | None = None
