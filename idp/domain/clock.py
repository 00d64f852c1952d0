"""Where the time comes from: injected everywhere, so that tests move it by hand."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the current time, timezone-aware and in UTC."""

    def __call__(self) -> datetime:
        """Return the time."""
        ...


def system_clock() -> datetime:
    """Return the machine's time in UTC."""
    return datetime.now(UTC)
