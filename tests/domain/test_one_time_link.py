"""Links that work once."""

from datetime import timedelta

import pytest

from tests.support.clock import START
from tests.support.factories import make_one_time_link

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("after", "valid"), [(-SECOND, True), (timedelta(), False), (SECOND, False)])
def test_a_link_ends_at_its_end(after: timedelta, valid: bool):
    assert make_one_time_link(expires_at=START).valid(now=START + after) is valid


def test_a_used_link_does_not_work_again():
    assert not make_one_time_link(used_at=START).valid(now=START)
