"""Refreshing: a lost answer is forgiven, a theft is punished."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.grant import RefreshToken
from idp.domain.user import UserStatus
from idp.protocol.errors import InvalidGrant
from idp.protocol.refresh_token import RefreshTokenReplayed, Rotation, refresh
from tests.support.clock import START
from tests.support.factories import make_client, make_grant, make_refresh_token, make_user

SECOND = timedelta(seconds=1)
GRACE = timedelta(seconds=10)
UNUSED = make_refresh_token(hash="hash-of-the-successor")
USED = make_refresh_token(hash="hash-of-the-successor", used_at=START)


def decide(
    *,
    after: timedelta = timedelta(),
    successor: RefreshToken | None = None,
    grant: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    **token: Any,
) -> Rotation:
    return refresh(
        make_refresh_token(**token),
        make_grant(**(grant or {})),
        make_user(**(user or {})),
        make_client(),
        successor=successor,
        grace=GRACE,
        now=START + after,
    )


def refusal(**changes: Any) -> InvalidGrant:
    with pytest.raises(InvalidGrant) as refused:
        decide(**changes)
    return refused.value


def test_a_fresh_token_is_rotated_rfc6749_s6():
    assert decide() is Rotation.ROTATE


def test_a_token_ends_at_its_end_rfc6749_s6():
    assert decide(expires_at=START + SECOND) is Rotation.ROTATE
    for late in (SECOND, 2 * SECOND):
        assert not isinstance(refusal(expires_at=START + SECOND, after=late), RefreshTokenReplayed)


@pytest.mark.parametrize("after", [timedelta(), SECOND, GRACE])
def test_a_retry_within_the_grace_gets_the_same_successor(after: timedelta):
    assert decide(used_at=START, successor=UNUSED, after=after) is Rotation.REPEAT


def test_five_tabs_that_refresh_at_once_all_stay_signed_in():
    assert {decide(used_at=START, successor=UNUSED, after=tab * SECOND) for tab in range(5)} == {Rotation.REPEAT}


def test_the_grace_counts_from_the_first_use_and_a_late_replay_revokes_rfc9700_s4_14_2():
    assert isinstance(refusal(used_at=START, successor=UNUSED, after=GRACE + SECOND / 1000), RefreshTokenReplayed)


def test_a_replay_after_the_successor_was_used_revokes_even_within_the_grace_rfc9700_s4_14_2():
    assert isinstance(refusal(used_at=START, successor=USED), RefreshTokenReplayed)


def test_a_used_token_without_a_successor_is_a_replay_rfc9700_s4_14_2():
    assert isinstance(refusal(used_at=START), RefreshTokenReplayed)


def test_a_retry_is_forgiven_though_the_token_ended_meanwhile():
    assert decide(used_at=START, successor=UNUSED, expires_at=START + SECOND, after=2 * SECOND) is Rotation.REPEAT


def test_a_replay_long_after_the_end_still_revokes_rfc9700_s4_14_2():
    error = refusal(used_at=START, successor=USED, expires_at=START, after=timedelta(hours=1))
    assert isinstance(error, RefreshTokenReplayed)


def test_a_replay_looks_like_any_other_refusal_rfc6749_s5_2():
    replayed, expired = refusal(used_at=START), refusal(expires_at=START)
    assert (replayed.error, replayed.status, replayed.description) == ("invalid_grant", 400, expired.description)
    assert replayed.detail != expired.detail


@pytest.mark.parametrize("used_at", [None, START])
def test_another_clients_token_is_refused_and_revokes_nothing_rfc6749_s6(used_at: Any):
    error = refusal(grant={"client_id": "other"}, used_at=used_at)
    assert (error.error, error.status) == ("invalid_grant", 400)
    assert not isinstance(error, RefreshTokenReplayed)


@pytest.mark.parametrize("used_at", [None, START])
@pytest.mark.parametrize("grant", [{"revoked_at": START}, {"expires_at": START}])
def test_a_token_whose_grant_is_over_is_refused(grant: dict[str, Any], used_at: Any):
    assert not isinstance(refusal(grant=grant, used_at=used_at, successor=UNUSED), RefreshTokenReplayed)


@pytest.mark.parametrize("used_at", [None, START])
def test_a_disabled_account_refreshes_nothing(used_at: Any):
    refusal(user={"status": UserStatus.DISABLED}, used_at=used_at, successor=UNUSED)
