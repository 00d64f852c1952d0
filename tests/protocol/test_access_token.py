"""Access tokens."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.grant import Grant
from idp.domain.user import UserStatus
from idp.protocol.access_token import TYPE, access_token_claims, check_scope, is_live, read_bearer_token
from idp.protocol.errors import InsufficientScope, InvalidRequest, InvalidToken
from tests.support.clock import START
from tests.support.factories import ISSUER, make_access_token, make_grant, make_user

SECOND = timedelta(seconds=1)
NOW = START + timedelta(hours=1)


def claims(
    *, grant: Grant | None = None, released: dict[str, Any] | None = None, not_before: bool = False
) -> dict[str, Any]:
    return access_token_claims(
        issuer=ISSUER,
        sub="u_alice",
        client_id="portal",
        audience=("https://data.example.org",),
        scope="openid labs",
        jti="t_1",
        now=NOW + timedelta(milliseconds=900),
        expires_at=NOW + timedelta(minutes=10),
        released=released or {},
        not_before=not_before,
        grant=grant,
    )


def test_several_audiences_are_a_list_rfc7519_s4_1_3():
    several = access_token_claims(
        issuer=ISSUER,
        sub="portal",
        client_id="portal",
        audience=("https://a.example", "https://b.example"),
        scope="",
        jti="t_1",
        now=NOW,
        expires_at=NOW,
        released={},
    )
    assert several["aud"] == ["https://a.example", "https://b.example"]


# ── What is in it ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_access_token_says_it_is_one_rfc9068_s2_1():
    assert TYPE == "at+jwt"


def test_a_token_of_a_client_for_itself_has_the_required_claims_rfc9068_s2_2():
    assert claims() == {
        "iss": ISSUER,
        "sub": "u_alice",
        "aud": "https://data.example.org",
        "client_id": "portal",
        "scope": "openid labs",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 600,
        "jti": "t_1",
    }


def test_a_token_about_a_user_says_how_and_when_the_user_signed_in_rfc9068_s2_2_1():
    grant = make_grant(auth_time=START, acr="1", amr=("pwd", "otp"))
    assert claims(grant=grant) == claims() | {"auth_time": int(START.timestamp()), "acr": "1", "amr": ["pwd", "otp"]}


def test_times_are_whole_seconds_rfc7519_s2():
    assert {type(claims(grant=make_grant())[name]) for name in ("iat", "exp", "auth_time")} == {int}


def test_what_is_released_about_labs_stands_in_the_token():
    assert claims(released={"groups": ["bio:member"]})["groups"] == ["bio:member"]


def test_only_where_a_profile_demands_it_the_token_says_from_when_it_counts_wlcg_s2_1_1():
    assert "nbf" not in claims()
    token = claims(not_before=True)
    assert token["nbf"] == token["iat"]


# ── Whether it counts ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_token_counts_until_before_its_end():
    token = make_access_token(expires_at=NOW)
    assert is_live(token, make_grant(), make_user(), now=NOW - SECOND)
    assert not is_live(token, make_grant(), make_user(), now=NOW)
    assert not is_live(token, make_grant(), make_user(), now=NOW + SECOND)


def test_a_revoked_token_does_not_count_rfc7009_s2():
    assert not is_live(make_access_token(revoked_at=START), make_grant(), make_user(), now=START)


def test_revoking_the_grant_ends_its_tokens_rfc6749_s4_1_2():
    assert not is_live(make_access_token(), make_grant(revoked_at=START), make_user(), now=START)


def test_a_token_does_not_outlive_its_grant():
    assert not is_live(make_access_token(), make_grant(expires_at=START), make_user(), now=START)


def test_a_token_of_a_disabled_or_deleted_account_does_not_count():
    assert not is_live(make_access_token(), make_grant(), make_user(status=UserStatus.DISABLED), now=START)
    assert not is_live(make_access_token(), make_grant(), None, now=START)


def test_a_token_whose_grant_is_gone_does_not_count():
    assert not is_live(make_access_token(), None, make_user(), now=START)


def test_a_service_token_needs_no_grant_and_still_ends_rfc6749_s4_4():
    token = make_access_token(grant_id=None, expires_at=NOW)
    assert is_live(token, None, None, now=NOW - SECOND)
    assert not is_live(token, None, None, now=NOW)
    assert not is_live(make_access_token(grant_id=None, revoked_at=START), None, None, now=START)


# ── Scope ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scope", ["email", "openid email", "email openid"])
def test_a_scope_that_was_granted_is_found(scope: str):
    check_scope(make_access_token(scope=scope), "email")


@pytest.mark.parametrize("scope", ["", "openid", "emails", "xemail", "EMAIL", "email:read"])
def test_a_scope_that_was_not_granted_is_insufficient_rfc6750_s3_1(scope: str):
    with pytest.raises(InsufficientScope) as refused:
        check_scope(make_access_token(scope=scope), "email")
    assert refused.value.status == 403


# ── How it is sent ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("authorization", ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc", "Bearer abc "])
def test_a_bearer_token_is_read_from_the_header_rfc6750_s2_1(authorization: str):
    assert read_bearer_token(authorization, None) == "abc"


def test_a_bearer_token_is_read_from_the_body_rfc6750_s2_2():
    assert read_bearer_token(None, "abc") == "abc"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer   ", "Basic abc", "DPoP abc", "abc"])
def test_no_bearer_token_is_a_401_rfc6750_s3(authorization: str | None):
    with pytest.raises(InvalidToken) as refused:
        read_bearer_token(authorization, None)
    assert refused.value.status == 401


def test_a_token_sent_in_two_ways_is_an_invalid_request_rfc6750_s3_1():
    with pytest.raises(InvalidRequest) as refused:
        read_bearer_token("Bearer abc", "abc")
    assert refused.value.status == 400


def test_another_scheme_does_not_let_the_body_count_rfc6750_s2():
    with pytest.raises(InvalidToken):
        read_bearer_token("Basic abc", "abc")


@given(st.none() | st.text() | st.text().map("Bearer {}".format), st.none() | st.text())
def test_any_header_and_body_give_a_token_or_a_refusal_rfc6750_s2(authorization: str | None, body: str | None):
    try:
        token = read_bearer_token(authorization, body)
    except (InvalidToken, InvalidRequest):
        return
    assert token == (body if authorization is None else authorization[len("Bearer ") :].strip())
