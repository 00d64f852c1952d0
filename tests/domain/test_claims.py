"""What is released about a user."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.claims import (
    JWT_LAB_BYTES,
    SCOPE_CLAIMS,
    USERINFO_LAB_BYTES,
    EntitlementNamespace,
    lab_claims,
    user_claims,
)
from idp.domain.client import GroupFormat, Profile
from idp.domain.lab import LabRole
from idp.domain.lab_release import LabRelease, ReleasedLab
from idp.domain.lab_scope import read_lab_request
from idp.domain.user import PROFILE_CLAIMS
from tests.support.clock import START
from tests.support.factories import make_client, make_lab, make_user
from tests.support.strategies import documents


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
NAMESPACE = EntitlementNamespace("urn:example:idp", "idp.example.org")


def told(*labs: tuple[str, LabRole, datetime | None], scope: str = "labs groups entitlements") -> LabRelease:
    """What is told of labs, given as slug, role and end."""
    released = (
        ReleasedLab(make_lab(id=f"lab_{slug}", slug=slug, name=slug.title()), role, end) for slug, role, end in labs
    )
    return LabRelease(read_lab_request(scope.split()), tuple(released), {})


def test_labs_are_structured_and_groups_are_flat_with_the_roles_expanded():
    end = START + timedelta(days=1)
    claims = lab_claims(told(("bio", LabRole.ADMIN, None), ("chem", LabRole.VIEWER, end)), make_client())
    assert claims == {
        "labs": [
            {"id": "lab_bio", "slug": "bio", "name": "Bio", "role": "admin"},
            {"id": "lab_chem", "slug": "chem", "name": "Chem", "role": "viewer", "exp": int(end.timestamp())},
        ],
        "groups": ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"],
    }


def test_entitlements_are_urns_of_the_namespace_aarc_g069():
    claims = lab_claims(told(("bio", LabRole.MEMBER, None)), make_client(), namespace=NAMESPACE)
    assert claims["entitlements"] == [
        "urn:example:idp:group:bio:role=member#idp.example.org",
        "urn:example:idp:group:bio:role=viewer#idp.example.org",
    ]


@pytest.mark.parametrize("scope", ["labs", "groups", "entitlements"])
def test_each_lab_scope_releases_its_own_claim_only(scope: str):
    released = told(("bio", LabRole.MEMBER, None), scope=f"openid {scope}")
    assert lab_claims(released, make_client(), namespace=NAMESPACE).keys() == {scope}


def test_without_a_lab_scope_nothing_is_said_about_labs():
    assert lab_claims(told(scope="openid profile"), make_client(), namespace=NAMESPACE) == {}


def test_who_is_in_no_lab_has_empty_claims():
    assert lab_claims(told(scope="labs groups"), make_client()) == {"labs": [], "groups": []}


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ({"group_format": GroupFormat.SLUG_ROLE}, ["bio:admin", "bio:member", "bio:viewer", "chem:viewer"]),
        ({"group_format": GroupFormat.PATH}, ["/bio/admin", "/bio/member", "/bio/viewer", "/chem/viewer"]),
        ({"group_format": GroupFormat.SLUG}, ["bio"]),
        ({"group_format": GroupFormat.SLUG, "group_min_role": LabRole.VIEWER}, ["bio", "chem"]),
        ({"group_format": GroupFormat.SLUG, "group_min_role": LabRole.ADMIN}, ["bio"]),
    ],
)
def test_groups_are_written_as_the_client_wants_them(changes: dict[str, Any], groups: list[str]):
    released = told(("bio", LabRole.ADMIN, None), ("chem", LabRole.VIEWER, None), scope="groups")
    assert lab_claims(released, make_client(**changes)) == {"groups": groups}


def test_a_claim_about_labs_may_have_another_name():
    client = make_client(claim_aliases={"entitlements": "eduperson_entitlement", "groups": "roles"})
    claims = lab_claims(told(("bio", LabRole.VIEWER, None)), client, namespace=NAMESPACE)
    assert claims.keys() == {"labs", "roles", "eduperson_entitlement"}


# ── Profiles ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scope", ["labs", "groups", "lab:bio", "entitlements"])
def test_the_aarc_profile_tells_of_labs_in_entitlements_only_aarc_g069(scope: str):
    client = make_client(profile=Profile.AARC_G069)
    released = told(("bio", LabRole.VIEWER, None), scope=scope)
    assert lab_claims(released, client, namespace=NAMESPACE) == {
        "entitlements": ["urn:example:idp:group:bio:role=viewer#idp.example.org"]
    }
    assert lab_claims(released, client) == {}


# The examples of WLCG Common JWT Profiles §3.1, with the lab as the group that everybody is told of and a role in it as
# one on demand.
@pytest.mark.parametrize(
    ("scope", "groups"),
    [
        ("wlcg.groups", ["/bio", "/chem"]),
        ("wlcg.groups:/chem/admin wlcg.groups:/bio/viewer", ["/chem/admin", "/bio/viewer", "/bio", "/chem"]),
        ("wlcg.groups:/chem/admin wlcg.groups", ["/chem/admin", "/bio", "/chem"]),
        ("wlcg.groups wlcg.groups:/chem/admin", ["/bio", "/chem", "/chem/admin"]),
        ("wlcg.groups:/chem wlcg.groups:/chem/viewer", ["/chem", "/chem/viewer", "/bio"]),
        ("wlcg.groups:/bio/admin wlcg.groups:/physics", ["/bio", "/chem"]),
        ("groups", ["/bio", "/chem"]),
    ],
)
def test_the_wlcg_profile_selects_groups_in_the_order_of_the_scopes_wlcg_s3_1(scope: str, groups: list[str]):
    released = told(
        ("bio", LabRole.MEMBER, None), ("chem", LabRole.ADMIN, None), ("dust", LabRole.VIEWER, None), scope=scope
    )
    claims = lab_claims(released, make_client(profile=Profile.WLCG))
    assert claims == {"wlcg.ver": "1.0", "wlcg.groups": groups}


def test_a_wlcg_token_names_the_version_of_the_profile_even_without_groups_wlcg_s2_1_1():
    assert lab_claims(told(scope="openid"), make_client(profile=Profile.WLCG)) == {"wlcg.ver": "1.0"}


def test_a_plain_client_gets_no_wlcg_groups():
    assert lab_claims(told(("bio", LabRole.MEMBER, None), scope="wlcg.groups"), make_client()) == {}


# ── Size ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def lab_bytes(claims: dict[str, Any]) -> int:
    return len(json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize("scope", ["groups", "labs", "labs groups"])
def test_lab_claims_are_released_up_to_the_limit_and_omitted_whole_beyond_it(scope: str):
    released = told(*((f"lab-{number}", LabRole.MEMBER, None) for number in range(20)), scope=scope)
    whole = lab_claims(released, make_client())
    assert lab_claims(released, make_client(), max_bytes=lab_bytes(whole)) == whole
    assert lab_claims(released, make_client(), max_bytes=lab_bytes(whole) - 1) == {"labs_overflow": True}


def test_characters_count_as_the_bytes_that_they_take():
    lab = ReleasedLab(make_lab(name="ü" * 200), LabRole.VIEWER, None)
    released = LabRelease(read_lab_request(["labs"]), (lab,), {})
    assert lab_claims(released, make_client(), max_bytes=400) == {"labs_overflow": True}
    assert "labs" in lab_claims(released, make_client(), max_bytes=500)


def test_hundreds_of_labs_overflow():
    released = told(*((f"lab-{number}", LabRole.MEMBER, None) for number in range(400)), scope="labs groups")
    for limit in (JWT_LAB_BYTES, USERINFO_LAB_BYTES):
        assert lab_claims(released, make_client(), max_bytes=limit) == {"labs_overflow": True}


def test_the_limits_are_those_that_relying_parties_were_measured_to_bear():
    assert (JWT_LAB_BYTES, USERINFO_LAB_BYTES) == (2048, 12288)
