"""Grants: one mark ends everything that came from them."""

from datetime import timedelta

import pytest

from tests.support.clock import START
from tests.support.factories import make_grant

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(("after", "valid"), [(-SECOND, True), (timedelta(), False), (SECOND, False)])
def test_a_grant_ends_at_its_end(after: timedelta, valid: bool):
    assert make_grant(expires_at=START).valid(now=START + after) is valid


def test_a_revoked_grant_does_not_count_even_before_the_time_of_its_revocation():
    grant = make_grant(revoked_at=START + SECOND)
    assert not grant.valid(now=START + SECOND)
    # Clocks of two nodes differ a little: a revocation from the future counts, too.
    assert not grant.valid(now=START)
