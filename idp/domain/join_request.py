"""Somebody's wish to join a lab, until one of its admins decides."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# So that a refusal is not asked about again every day, nor anything by somebody who cannot make up their mind.
ASK_AGAIN_AFTER = timedelta(days=30)
ASK_AGAIN_AFTER_WITHDRAWAL = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """One user's request; when it is granted it gives way to a membership, else it stays."""

    lab_id: str
    user_id: str
    created_at: datetime
    message: str | None = None
    denied_at: datetime | None = None
    withdrawn_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether it waits for a decision."""
        return self.denied_at is None and self.withdrawn_at is None

    @property
    def repeatable_at(self) -> datetime | None:
        """From when on the user may ask anew; None while the request waits."""
        if self.denied_at is not None:
            return self.denied_at + ASK_AGAIN_AFTER
        return None if self.withdrawn_at is None else self.withdrawn_at + ASK_AGAIN_AFTER_WITHDRAWAL

    def may_be_repeated(self, *, now: datetime) -> bool:
        """Whether the user may ask anew: not while the request waits, nor soon after its end."""
        return self.repeatable_at is not None and now >= self.repeatable_at
