"""Exchanging a code."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.user import UserStatus
from idp.protocol.authorization_code import CodeReplayed, redeem_code
from idp.protocol.errors import InvalidGrant
from tests.support.clock import START
from tests.support.factories import (
    CODE_CHALLENGE,
    CODE_VERIFIER,
    REDIRECT_URI,
    make_client,
    make_code,
    make_grant,
    make_user,
)

SECOND = timedelta(seconds=1)


def redeem(
    *,
    code: dict[str, Any] | None = None,
    grant: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    **changes: Any,
) -> None:
    request = {"redirect_uri": REDIRECT_URI, "code_verifier": CODE_VERIFIER, "now": START}
    redeem_code(
        make_code(**{"code_challenge": CODE_CHALLENGE, **(code or {})}),
        make_grant(**(grant or {})),
        make_user(**(user or {})),
        make_client(),
        **{**request, **changes},
    )


def refusal(**changes: Any) -> InvalidGrant:
    with pytest.raises(InvalidGrant) as refused:
        redeem(**changes)
    return refused.value


def test_a_fresh_code_of_this_client_may_be_exchanged_rfc6749_s4_1_3():
    redeem()


def test_a_code_ends_at_its_end_rfc6749_s4_1_2():
    end = {"expires_at": START + SECOND}
    redeem(code=end)
    assert not isinstance(refusal(code=end, now=START + SECOND), CodeReplayed)
    refusal(code=end, now=START + 2 * SECOND)


def test_a_used_code_is_a_replay_even_after_its_end_rfc6749_s4_1_2():
    assert isinstance(refusal(code={"used_at": START}), CodeReplayed)
    assert isinstance(refusal(code={"used_at": START}, now=START + timedelta(days=1)), CodeReplayed)


def test_a_replay_looks_like_any_other_refusal_rfc6749_s5_2():
    replayed, expired = refusal(code={"used_at": START}), refusal(code={"expires_at": START})
    assert (replayed.error, replayed.status, replayed.description) == ("invalid_grant", 400, expired.description)
    assert replayed.detail != expired.detail


def test_another_clients_code_is_refused_and_its_replay_revokes_nothing_rfc6749_s4_1_3():
    for used_at in (None, START):
        error = refusal(grant={"client_id": "other"}, code={"used_at": used_at})
        assert not isinstance(error, CodeReplayed)


@pytest.mark.parametrize("grant", [{"revoked_at": START}, {"expires_at": START}])
def test_the_code_of_a_grant_that_is_over_is_refused(grant: dict[str, Any]):
    assert not isinstance(refusal(grant=grant), CodeReplayed)


def test_the_code_of_a_disabled_account_is_refused():
    refusal(user={"status": UserStatus.DISABLED})


@pytest.mark.parametrize(
    "redirect_uri",
    [None, "https://evil.example/", f"{REDIRECT_URI}/", f"{REDIRECT_URI}?x", REDIRECT_URI.upper(), f"{REDIRECT_URI} "],
)
def test_redirect_uri_must_be_identical_to_the_one_of_the_request_rfc6749_s4_1_3(redirect_uri: str | None):
    assert refusal(redirect_uri=redirect_uri).error == "invalid_grant"


def test_redirect_uri_may_be_omitted_where_the_request_omitted_it_rfc6749_s4_1_3():
    redeem(code={"redirect_uri": None}, redirect_uri=None)
    # There is nothing to be identical to: the request meant the only registered one.
    redeem(code={"redirect_uri": None}, redirect_uri=REDIRECT_URI)


@pytest.mark.parametrize("verifier", [None, "x", CODE_CHALLENGE, CODE_VERIFIER[::-1]])
def test_a_missing_or_wrong_verifier_is_refused_rfc7636_s4_6(verifier: str | None):
    refusal(code_verifier=verifier)


def test_a_verifier_for_a_code_without_a_challenge_is_refused_rfc9700_s4_8_2():
    refusal(code={"code_challenge": None})
    redeem(code={"code_challenge": None}, code_verifier=None)
