"""UserInfo."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.user import UserStatus
from idp.protocol.errors import InsufficientScope, InvalidToken
from idp.protocol.userinfo import check_userinfo_token, userinfo
from tests.support.clock import START
from tests.support.factories import ISSUER, make_access_token, make_grant, make_user


def check(*, grant: Any = None, user: Any = None, now: Any = START, **token: Any) -> Any:
    grant, user = grant or make_grant(), user or make_user()
    return check_userinfo_token(make_access_token(**token), grant, user, issuer=ISSUER, now=now)


def test_a_token_with_openid_may_ask_oidc_core_s5_3():
    assert check() == (make_access_token(), make_grant(), make_user())


def test_an_unknown_token_is_a_401_oidc_core_s5_3_3():
    with pytest.raises(InvalidToken) as refused:
        check_userinfo_token(None, make_grant(), make_user(), issuer=ISSUER, now=START)
    assert (refused.value.error, refused.value.status) == ("invalid_token", 401)


@pytest.mark.parametrize(
    "changes",
    [
        {"now": START + timedelta(minutes=10)},
        {"revoked_at": START},
        {"grant": make_grant(revoked_at=START)},
        {"grant": make_grant(expires_at=START)},
        {"user": make_user(status=UserStatus.DISABLED)},
    ],
)
def test_an_expired_or_revoked_token_is_a_401_oidc_core_s5_3_3(changes: dict[str, Any]):
    with pytest.raises(InvalidToken):
        check(**changes)


@pytest.mark.parametrize("audience", ["https://data.example.org", f"{ISSUER}/", "portal", ""])
def test_a_token_for_another_audience_is_a_401_rfc9068_s4(audience: str):
    with pytest.raises(InvalidToken) as refused:
        check(audience=audience)
    assert "another audience" in refused.value.description


def test_a_service_token_speaks_for_no_user_oidc_core_s5_3():
    token = make_access_token(grant_id=None)
    for grant, user in ((None, None), (make_grant(), None), (None, make_user())):
        with pytest.raises(InvalidToken) as refused:
            check_userinfo_token(token, grant, user, issuer=ISSUER, now=START)
        assert "no user" in refused.value.description


@pytest.mark.parametrize("scope", ["", "profile email", "openidx"])
def test_a_token_without_openid_is_a_403_oidc_core_s5_3(scope: str):
    with pytest.raises(InsufficientScope) as refused:
        check(scope=scope)
    assert (refused.value.error, refused.value.status) == ("insufficient_scope", 403)


def test_the_response_says_the_subject_and_what_was_released_oidc_core_s5_3_2():
    answer = userinfo("u_alice", {"name": "Alice", "groups": ["bio:member"]})
    assert answer == {"sub": "u_alice", "name": "Alice", "groups": ["bio:member"]}


def test_a_profile_can_never_say_another_subject_oidc_core_s5_3_2():
    assert userinfo("u_alice", {"sub": "u_bob"}) == {"sub": "u_alice"}


def test_a_token_for_this_server_among_others_may_ask_rfc8707_s2():
    assert check(audience=f"https://data.example.org {ISSUER}")
