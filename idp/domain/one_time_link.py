"""Links that work once."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class LinkPurpose(StrEnum):
    """What following the link allows."""

    FIRST_SUPER_ADMIN = "first_super_admin"
    SIGN_IN = "sign_in"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneTimeLink:
    """A link known by the SHA-256 of its token; `user_id` where it belongs to one account."""

    hash: str
    purpose: LinkPurpose
    created_at: datetime
    expires_at: datetime
    user_id: str | None = None
    used_at: datetime | None = None

    def valid(self, *, now: datetime) -> bool:
        """Whether the link can still be followed at `now`."""
        return self.used_at is None and now < self.expires_at
