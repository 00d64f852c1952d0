"""What lets a developer register a client (RFC 7591 §1.2)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialAccessToken:
    """A token for the registration endpoint, usable until it expires or is revoked; `note` says who has it."""

    hash: str
    id: str
    note: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether a client may be registered with it at `now`."""
        return self.revoked_at is None and now < self.expires_at
