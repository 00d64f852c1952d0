"""Token introspection."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.resource import Resource
from idp.domain.user import UserStatus
from idp.protocol.introspection import introspect_access_token, introspect_refresh_token, may_introspect
from tests.support.clock import START
from tests.support.factories import (
    ISSUER,
    make_access_token,
    make_client,
    make_grant,
    make_refresh_token,
    make_resource,
    make_user,
)

END = START + timedelta(minutes=10)


def of_access_token(*, grant: Any = None, user: Any = None, now: Any = START, **token: Any) -> dict[str, Any]:
    return introspect_access_token(
        make_access_token(expires_at=END, **token),
        grant or make_grant(),
        user or make_user(name="Alice", username="alice"),
        issuer=ISSUER,
        sub="u_alice",
        released={"groups": ["bio:member"]},
        now=now,
    )


def of_refresh_token(*, grant: Any = None, user: Any = None, now: Any = START, **token: Any) -> dict[str, Any]:
    return introspect_refresh_token(
        make_refresh_token(expires_at=END, **token),
        grant or make_grant(),
        user or make_user(name="Alice", username="alice"),
        issuer=ISSUER,
        sub="u_alice",
        now=now,
    )


# ── Whose business it is ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("client_id", "resources", "allowed"),
    [
        ("portal", [], True),
        ("other", [], False),
        ("other", [make_resource(client_id="portal")], True),
        ("other", [make_resource(client_id="third"), make_resource(client_id="portal")], True),
        ("other", [make_resource(client_id="third")], False),
        ("other", [make_resource(client_id=None)], False),
        ("portal2", [make_resource(audience="portal", name="portal")], False),
    ],
)
def test_a_token_is_the_business_of_its_client_and_of_the_api_it_is_for_rfc7662_s4(
    client_id: str, resources: list[Resource], allowed: bool
):
    assert may_introspect(make_client(), client_id=client_id, resources=resources) is allowed


def test_several_audiences_are_a_list_rfc7662_s2_2():
    assert of_access_token(audience=f"https://data.example.org {ISSUER}")["aud"] == ["https://data.example.org", ISSUER]


# ── Access tokens ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_active_access_token_is_described_rfc7662_s2_2():
    assert of_access_token() == {
        "active": True,
        "iss": ISSUER,
        "sub": "u_alice",
        "aud": "https://idp.example.org",
        "client_id": "portal",
        "scope": "openid profile",
        "token_type": "Bearer",
        "iat": int(START.timestamp()),
        "exp": int(END.timestamp()),
        "jti": "jti-1",
        "groups": ["bio:member"],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"now": END},
        {"revoked_at": START},
        {"grant": make_grant(revoked_at=START)},
        {"grant": make_grant(expires_at=START)},
        {"user": make_user(status=UserStatus.DISABLED)},
    ],
)
def test_of_a_token_that_does_not_count_nothing_more_is_told_rfc7662_s2_2(changes: dict[str, Any]):
    assert of_access_token(**changes) == {"active": False}


def test_the_subject_of_a_service_token_is_the_client_rfc9068_s2_2():
    token = make_access_token(grant_id=None)
    answer = introspect_access_token(token, None, None, issuer=ISSUER, sub="portal", released={}, now=START)
    assert answer["sub"] == answer["client_id"] == "portal"


# ── Refresh tokens ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_active_refresh_token_is_described_rfc7662_s2_2():
    assert of_refresh_token() == {
        "active": True,
        "iss": ISSUER,
        "sub": "u_alice",
        "client_id": "portal",
        "scope": "openid profile",
        "iat": int(START.timestamp()),
        "exp": int(END.timestamp()),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"now": END},
        {"used_at": START},
        {"grant": make_grant(revoked_at=START)},
        {"grant": make_grant(expires_at=START)},
        {"user": make_user(status=UserStatus.DISABLED)},
    ],
)
def test_of_a_refresh_token_that_does_not_count_nothing_more_is_told_rfc7662_s2_2(changes: dict[str, Any]):
    assert of_refresh_token(**changes) == {"active": False}


# ── Privacy ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("describe", [of_access_token, of_refresh_token])
def test_name_and_address_of_somebody_who_released_only_openid_are_not_told_rfc7662_s5(describe: Any):
    answer = repr(describe(scope="openid")).replace("u_alice", "")
    assert "alice" not in answer.lower()
