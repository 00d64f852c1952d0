"""Browser sessions."""

from datetime import timedelta

import pytest

from tests.support.clock import START
from tests.support.factories import make_session

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("after", "valid"), [(-SECOND, True), (timedelta(), False), (SECOND, False)])
def test_a_session_ends_at_its_end(after: timedelta, valid: bool):
    assert make_session(expires_at=START).valid(now=START + after) is valid


def test_a_session_that_was_ended_signs_nobody_in():
    assert not make_session(ended_at=START + SECOND).valid(now=START)
