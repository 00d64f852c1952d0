"""What wrong codes cost."""

from datetime import timedelta

import pytest

from idp.domain.second_factor import FREE_ATTEMPTS
from tests.support.clock import START
from tests.support.factories import make_totp

LATER = START + timedelta(hours=1)


@pytest.mark.parametrize("failed", range(FREE_ATTEMPTS))
def test_a_few_wrong_codes_cost_nothing(failed: int):
    assert make_totp(failed=failed, failed_at=LATER).open_at() is None


@pytest.mark.parametrize(("beyond", "seconds"), [(0, 15), (1, 30), (3, 120), (7, 1920), (8, 3600), (10_000, 3600)])
def test_each_further_one_doubles_the_wait_up_to_an_hour(beyond: int, seconds: int):
    waiting = make_totp(failed=FREE_ATTEMPTS + beyond, failed_at=LATER)
    assert waiting.open_at() == LATER + timedelta(seconds=seconds)


def test_a_right_code_ends_the_wait_and_is_remembered():
    refused = make_totp(failed=FREE_ATTEMPTS - 1).refused(now=LATER)
    assert refused.open_at() is not None
    used = refused.used(7, now=LATER)
    assert (used.open_at(), used.last_step, used.last_used_at, used.failed) == (None, 7, LATER, 0)


def test_nobody_who_never_failed_waits():
    assert make_totp(failed=FREE_ATTEMPTS).open_at() is None
