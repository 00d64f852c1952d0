"""A clock that only tests move."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 5, 12, tzinfo=UTC)


class FakeClock:
    """Tells `now` until it is advanced; it stands in for `idp.domain.clock.Clock`."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta = timedelta(), *, seconds: float = 0) -> datetime:
        self.now += by + timedelta(seconds=seconds)
        return self.now
