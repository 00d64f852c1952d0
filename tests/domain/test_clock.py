"""The one place that reads the system's time."""

from datetime import UTC, timedelta
from time import time_ns

from idp.domain.clock import system_clock


def test_the_system_clock_tells_utc_with_its_zone():
    before = time_ns() / 1e9
    now = system_clock()
    assert now.tzinfo is UTC
    assert now.utcoffset() == timedelta()
    assert before <= now.timestamp() <= time_ns() / 1e9
