"""Scopes about labs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.lab import LabRole
from idp.domain.lab_scope import LAB_SCOPES, LabScope, is_about_labs, names_lab, parse_lab_scope, read_lab_request


@pytest.mark.parametrize(
    ("token", "parsed"),
    [
        ("lab:bio", LabScope("bio")),
        ("lab:bio-2:viewer", LabScope("bio-2", LabRole.VIEWER)),
        ("wlcg.groups:/bio", LabScope("bio")),
        ("wlcg.groups:/bio/admin", LabScope("bio", LabRole.ADMIN)),
    ],
)
def test_a_scope_names_a_lab_and_perhaps_a_role(token: str, parsed: LabScope):
    assert names_lab(token)
    assert parse_lab_scope(token) == parsed


@pytest.mark.parametrize(
    "token",
    [
        "lab:",
        "lab::member",
        "lab:Bio",
        "lab:bio:",
        "lab:bio:owner",
        "lab:bio:ADMIN",
        "lab:bio:member:viewer",
        "lab:bio/member",
        "lab:-bio",
        "lab:admin",
        "lab:" + "a" * 40,
        "wlcg.groups:",
        "wlcg.groups:/",
        "wlcg.groups:bio",
        "wlcg.groups:/bio/",
        "wlcg.groups:/bio/member/viewer",
    ],
)
def test_a_malformed_one_names_none(token: str):
    assert names_lab(token)
    with pytest.raises(ValueError, match=r"."):
        parse_lab_scope(token)


@pytest.mark.parametrize("token", ["labs", "groups", "labs:read", "label", "LAB:bio", "wlcg.groups", "openid", ""])
def test_other_scopes_name_no_single_lab(token: str):
    assert not names_lab(token)
    assert is_about_labs(token) == (token in LAB_SCOPES)


def test_single_labs_imply_labs_and_groups_and_mean_no_other_lab():
    asked = read_lab_request(["openid", "lab:chem:viewer", "lab:bio"])
    assert asked.claims == {"labs", "groups"}
    assert not asked.all_labs
    assert list(asked.named.items()) == [("chem", (LabRole.VIEWER,)), ("bio", (None,))]


@pytest.mark.parametrize(
    ("scope", "claims", "all_labs"),
    [
        ("openid profile", set(), False),
        ("labs", {"labs"}, True),
        ("groups", {"groups"}, True),
        ("entitlements", {"entitlements"}, True),
        ("labs lab:bio", {"labs", "groups"}, True),
        ("groups lab:bio", {"labs", "groups"}, False),
        ("entitlements lab:bio", {"labs", "groups", "entitlements"}, False),
        ("wlcg.groups:/bio", {"wlcg.groups"}, True),
    ],
)
def test_beside_a_named_lab_only_the_scope_labs_means_all_of_them(scope: str, claims: set[str], all_labs: bool):
    asked = read_lab_request(scope.split())
    assert (asked.claims, asked.all_labs) == (claims, all_labs)


def test_several_scopes_of_one_lab_are_kept_together():
    asked = read_lab_request(["lab:bio:viewer", "lab:chem", "lab:bio:member"])
    assert asked.named == {"bio": (LabRole.VIEWER, LabRole.MEMBER), "chem": (None,)}


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_a_scope(text: str):
    try:
        lab = parse_lab_scope(f"lab:{text}")
    except ValueError:
        return
    assert f"lab:{text}" == f"lab:{lab.slug}" + (f":{lab.role}" if lab.role else "")
