"""Which providers are down: after several failures in a row a provider is left alone for a while, then tried by one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

FAILURES = 5
PAUSE = timedelta(seconds=30)
_SIZE = 100


class CircuitOpen(Exception):
    """The provider has failed several times in a row; `retry_after` is when it may be asked again."""

    def __init__(self, name: str, retry_after: timedelta) -> None:
        super().__init__(f"the provider {name} is down, and is asked again in {retry_after.total_seconds():g} seconds")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class _Failing:
    failures: int
    open_until: datetime | None = None


class Circuit:
    """The failures in a row of each provider, in this process.

    A failure is only that a provider is down: out of reach, too slow, a status of 500 or more, no JSON from the token
    endpoint. A refusal is an answer, and a success here: else whoever sends us wrong codes could shut it off.
    """

    def __init__(self) -> None:
        self._failing: dict[str, _Failing] = {}

    def check(self, name: str, now: datetime) -> None:
        """Check that a provider may be asked; whoever asks it says `succeeded` or `failed` in the end.

        Once the pause is over, one caller may try; the others wait for what becomes of that, or for another pause
        where it says nothing.

        Raises:
            CircuitOpen: it may not.
        """
        failing = self._failing.get(name)
        if failing is None or failing.open_until is None:
            return
        if now < failing.open_until:
            raise CircuitOpen(name, failing.open_until - now)
        self._keep(name, _Failing(failing.failures, now + PAUSE))

    def succeeded(self, name: str) -> None:
        """Note that a provider answered, if only by a refusal."""
        self._failing.pop(name, None)

    def failed(self, name: str, now: datetime) -> None:
        """Note that a provider was down."""
        old = self._failing.get(name)
        failures = min(old.failures + 1, FAILURES) if old else 1
        self._keep(name, _Failing(failures, now + PAUSE if failures == FAILURES else None))

    def is_open(self, name: str, now: datetime) -> bool:
        """Whether `check` would refuse; nothing is changed by asking."""
        failing = self._failing.get(name)
        return failing is not None and failing.open_until is not None and now < failing.open_until

    def _keep(self, name: str, failing: _Failing) -> None:
        self._failing.pop(name, None)
        if len(self._failing) >= _SIZE:
            # The one that nothing was heard of for the longest time.
            del self._failing[next(iter(self._failing))]
        self._failing[name] = failing
