"""Telling applications that a session has ended (OpenID Connect Back-Channel Logout 1.0)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutDelivery:
    """One logout token that is owed to one client: tried at `next_attempt_at` until delivered or given up.

    It is minted anew for each attempt; `user_id` and `session_id` say for whom. `claimed_until` is the lease of the
    node that tries it now. One that was given up has neither `next_attempt_at` nor `delivered_at`.
    """

    id: str
    client_id: str
    user_id: str
    session_id: str
    created_at: datetime
    expires_at: datetime
    attempts: int = 0
    next_attempt_at: datetime | None = None
    claimed_until: datetime | None = None
    delivered_at: datetime | None = None
    last_error: str | None = None
