"""What is released about a user."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.claims import (
    JWT_LAB_BYTES,
    SCOPE_CLAIMS,
    USERINFO_LAB_BYTES,
    lab_claims,
    user_claims,
    without_overflow,
)
from idp.domain.lab import LabRole, LabStatus
from idp.domain.user import PROFILE_CLAIMS
from tests.support.clock import START
from tests.support.factories import make_client, make_lab_membership, make_user
from tests.support.strategies import documents

SECOND = timedelta(seconds=1)
ANY_LAB = make_client(allowed_labs="*")


# ── Standard claims ─────────────────────────────────────────────────────────────────────────────────────────────────
def test_each_scope_releases_its_claims_as_far_as_they_are_held_oidc_core_s5_4():
    user = make_user(
        name="Alice Liddell",
        username="alice",
        email_verified=True,
        profile={
            "given_name": "Alice",
            "birthdate": "1852-05-04",
            "phone_number": "+43 1 2345",
            "phone_number_verified": False,
            "address": {"locality": "Oxford", "country": "GB"},
        },
    )
    assert user_claims(user, ["profile"]) == {
        "name": "Alice Liddell",
        "given_name": "Alice",
        "preferred_username": "alice",
        "birthdate": "1852-05-04",
        "updated_at": int(START.timestamp()),
    }
    assert user_claims(user, ["email"]) == {"email": "alice@example.org", "email_verified": True}
    assert user_claims(user, ["phone"]) == {"phone_number": "+43 1 2345", "phone_number_verified": False}
    assert user_claims(user, ["address"]) == {"address": {"locality": "Oxford", "country": "GB"}}
    assert user_claims(user, ["openid", "offline_access", "labs", "groups", "unknown"]) == {}
    assert user_claims(user, SCOPE_CLAIMS).keys() == {
        *user_claims(user, ["profile"]),
        *user_claims(user, ["email"]),
        *user_claims(user, ["phone"]),
        *user_claims(user, ["address"]),
    }


def test_an_account_without_an_address_has_no_verified_one_either_oidc_core_s5_1():
    assert user_claims(make_user(email=None, username="alice", email_verified=True), ["email"]) == {}


def test_an_unverified_address_is_said_to_be_one_oidc_core_s5_1():
    assert user_claims(make_user(email_verified=False), ["email"])["email_verified"] is False


def test_a_chosen_preferred_username_wins_over_the_user_name_oidc_core_s5_1():
    user = make_user(username="alice", profile={"preferred_username": "Ally"})
    assert user_claims(user, ["profile"])["preferred_username"] == "Ally"


def test_what_has_a_column_of_its_own_is_never_taken_from_the_profile():
    forged = {"name": "Mallory", "email": "mallory@example.org", "email_verified": True, "updated_at": 1}
    claims = user_claims(make_user(name="Alice", profile=forged), ["profile", "email"])
    assert claims["name"] == "Alice"
    assert claims["email"] == "alice@example.org"
    assert claims["email_verified"] is False
    assert claims["updated_at"] == int(START.timestamp())


def test_no_scope_asks_for_a_claim_of_the_protocol_itself_rfc7519_s4_1():
    protocol = {"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "client_id", "active", "acr", "amr", "sid"}
    assert protocol.isdisjoint(name for names in SCOPE_CLAIMS.values() for name in names)


@given(profile=documents, scope=st.lists(st.sampled_from([*SCOPE_CLAIMS, "openid", "labs", "x"])))
def test_any_profile_releases_only_claims_of_the_scopes_that_are_not_null(profile: dict[str, Any], scope: list[str]):
    claims = user_claims(make_user(profile=profile), scope)
    assert claims.keys() <= {name for token in scope for name in SCOPE_CLAIMS.get(token, ())}
    assert None not in claims.values()


def test_every_profile_claim_is_released_as_it_is_held_oidc_core_s5_1():
    profile = {name: f"the {name}" for name in PROFILE_CLAIMS}
    assert user_claims(make_user(profile=profile), SCOPE_CLAIMS).items() >= profile.items()


# ── Labs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_labs_are_structured_and_groups_are_flat_with_the_roles_expanded():
    end = START + timedelta(days=1)
    memberships = [
        make_lab_membership("bio", LabRole.ADMIN, lab={"name": "Biology"}),
        make_lab_membership("chem", LabRole.VIEWER, lab={"name": "Chemistry"}, expires_at=end),
    ]
    assert lab_claims(memberships, ANY_LAB, ["openid", "labs", "groups"], now=START) == {
        "labs": [
            {"id": "lab_bio", "slug": "bio", "name": "Biology", "role": "admin"},
            {
                "id": "lab_chem",
                "slug": "chem",
                "name": "Chemistry",
                "role": "viewer",
                "exp": int(end.timestamp()),
            },
        ],
        "groups": ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"],
    }


@pytest.mark.parametrize("scope", ["labs", "groups"])
def test_each_lab_scope_releases_its_own_claim_only(scope: str):
    assert lab_claims([make_lab_membership()], ANY_LAB, [scope], now=START).keys() == {scope}


def test_without_a_lab_scope_nothing_is_said_about_labs():
    assert lab_claims([make_lab_membership()], ANY_LAB, ["openid", "profile"], now=START) == {}


def test_who_is_in_no_lab_has_empty_claims():
    assert lab_claims([], ANY_LAB, ["labs", "groups"], now=START) == {"labs": [], "groups": []}


@pytest.mark.parametrize(
    ("allowed", "released"), [((), []), (("bio",), ["bio"]), (("chem", "bio"), ["bio", "chem"]), ("*", ["bio", "chem"])]
)
def test_only_labs_that_the_client_may_see_are_released(allowed: Any, released: list[str]):
    memberships = [make_lab_membership("bio"), make_lab_membership("chem")]
    claims = lab_claims(memberships, make_client(allowed_labs=allowed), ["labs", "groups"], now=START)
    assert [lab["slug"] for lab in claims["labs"]] == released
    assert claims["groups"] == [f"{slug}:{role}" for slug in released for role in ("member", "viewer")]


def test_an_archived_lab_is_released_to_nobody():
    archived = make_lab_membership(lab={"status": LabStatus.ARCHIVED})
    assert lab_claims([archived], ANY_LAB, ["labs", "groups"], now=START) == {"labs": [], "groups": []}


@pytest.mark.parametrize("changes", [{"expires_at": START}, {"not_before": START + SECOND}])
def test_a_membership_that_is_over_or_has_not_begun_is_not_released(changes: dict[str, Any]):
    over = make_lab_membership(**changes)
    assert lab_claims([over], ANY_LAB, ["labs", "groups"], now=START) == {"labs": [], "groups": []}


# ── Size ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def lab_bytes(claims: dict[str, Any]) -> int:
    return len(json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize("limit", [JWT_LAB_BYTES, USERINFO_LAB_BYTES])
def test_lab_claims_are_released_up_to_the_limit_and_omitted_whole_beyond_it(limit: int):
    claims = {"groups": ["ü"]}
    claims["groups"][0] += "x" * (limit - lab_bytes(claims))
    assert lab_bytes(claims) == limit
    assert without_overflow({"name": "Alice", **claims}, max_bytes=limit) == {"name": "Alice", **claims}
    claims["groups"][0] += "x"
    assert without_overflow({"name": "Alice", **claims}, max_bytes=limit) == {"name": "Alice", "labs_overflow": True}


def test_labs_and_groups_share_one_limit():
    labs, groups = {"labs": ["x" * 1200]}, {"groups": ["x" * 1200]}
    assert without_overflow(labs, max_bytes=JWT_LAB_BYTES) == labs
    assert without_overflow(groups, max_bytes=JWT_LAB_BYTES) == groups
    assert without_overflow({**labs, **groups}, max_bytes=JWT_LAB_BYTES) == {"labs_overflow": True}


def test_other_claims_never_overflow():
    claims = {"address": {"formatted": "x" * 20_000}}
    assert without_overflow(claims, max_bytes=JWT_LAB_BYTES) == claims


def test_the_limits_are_those_that_relying_parties_were_measured_to_bear():
    assert (JWT_LAB_BYTES, USERINFO_LAB_BYTES) == (2048, 12288)
