"""What is owed to somebody elsewhere and kept until it is taken or given up: a durable outbox."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One thing to hand over: tried at `next_attempt_at` until it is taken (`delivered_at`) or given up.

    `claimed_until` is the lease of the node that tries it now. What was given up has neither `next_attempt_at` nor
    `delivered_at`.
    """

    id: str
    created_at: datetime
    expires_at: datetime
    attempts: int = 0
    next_attempt_at: datetime | None = None
    claimed_until: datetime | None = None
    delivered_at: datetime | None = None
    last_error: str | None = None
