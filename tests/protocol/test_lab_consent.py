"""Consent by lab: what is asked, what an answer means, and what clients insist on."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import RequireLab
from idp.domain.consent import DECLINED, LATER, NOT_HELD, role_given
from idp.domain.lab import LabMembership, LabRole, LabStatus
from idp.domain.lab_release import release_labs
from idp.domain.lab_scope import read_lab_request
from idp.protocol.lab_consent import (
    LabChoice,
    LabChoices,
    consent_to,
    decided,
    earlier_labs,
    lab_choices,
    lab_scope,
    meets_required_labs,
)
from tests.support.clock import START
from tests.support.factories import make_authorization_request, make_client, make_lab_membership

ADMIN, MEMBER, VIEWER = LabRole
BIO_AND_CHEM = [make_lab_membership("bio", ADMIN), make_lab_membership("chem", VIEWER)]
REGISTERED = {"scope": "openid profile labs groups", "allowed_labs": "*"}


def choices(
    scope: str,
    consent: Mapping[str, str] | None = None,
    held: Sequence[LabMembership] = BIO_AND_CHEM,
    *,
    acr: str = "1",
    **client: Any,
) -> LabChoices:
    request = make_authorization_request(make_client(**REGISTERED, **client), scope=scope)
    return lab_choices(request, held, consent, acr=acr, now=START)


def boxes(shown: LabChoices) -> dict[str, tuple[LabRole | None, bool]]:
    return {choice.slug: (choice.role, choice.ticked) for choice in shown.labs}


# ── What is asked ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_claim_that_is_asked_for_by_name_counts_as_the_scope_of_that_name_oidc_core_s5_5():
    claims = json.dumps({"userinfo": {"groups": None, "entitlements": None, "name": None}, "id_token": {"labs": None}})
    client = make_client(scope="openid profile labs groups")
    asked = make_authorization_request(client, scope="openid labs", claims=claims)
    # Entitlements are not registered, and a name is no lab.
    assert lab_scope(asked) == ("labs", "groups")


def test_who_is_asked_nothing_about_labs_has_nothing_to_decide():
    assert choices("openid profile") == LabChoices()
    assert not choices("openid profile").asked
    assert choices("openid profile").mark == []


def test_at_first_every_lab_is_ticked_with_its_role_and_end():
    end = START + timedelta(days=1)
    shown = choices("openid labs", held=[BIO_AND_CHEM[0], make_lab_membership("chem", VIEWER, expires_at=end)])
    assert boxes(shown) == {"bio": (ADMIN, True), "chem": (VIEWER, True)}
    assert [choice.expires_at for choice in shown.labs] == [None, end]
    assert [choice.lab and choice.lab.name for choice in shown.labs] == ["Bio", "Chem"]
    assert (shown.asked, shown.undecided, shown.all_labs) == (True, True, True)
    assert shown.mark == [["bio", "admin"], ["chem", "viewer"]]


@pytest.mark.parametrize("held", ["lab:dust", "lab:dust:viewer", "lab:chem:member"])
def test_a_lab_that_is_unknown_or_not_held_or_held_too_low_has_no_box(held: str):
    shown = choices(f"openid lab:bio {held}")
    slug = held.split(":")[1]
    assert shown.labs[1:] == (LabChoice(slug, named=True),)
    assert not shown.all_labs
    assert shown.mark == [["bio", "admin"], [slug, ""]]


@pytest.mark.parametrize(
    "held",
    [
        make_lab_membership("bio", lab={"status": LabStatus.ARCHIVED}),
        make_lab_membership("bio", expires_at=START),
        make_lab_membership("bio", not_before=START + timedelta(seconds=1)),
    ],
)
def test_a_lab_that_could_not_be_told_has_no_box(held: LabMembership):
    assert choices("openid labs", held=[held]).labs == ()
    assert choices("openid lab:bio", held=[held]).labs == (LabChoice("bio", named=True),)


def test_a_scope_caps_what_is_asked_as_does_a_weak_sign_in():
    assert boxes(choices("openid lab:bio:viewer")) == {"bio": (VIEWER, True)}
    strict = make_lab_membership("bio", ADMIN, lab={"admin_acr": "2"})
    assert boxes(choices("openid labs", held=[strict], acr="1")) == {"bio": (MEMBER, True)}
    assert boxes(choices("openid labs", held=[strict], acr="2")) == {"bio": (ADMIN, True)}


@pytest.mark.parametrize(
    ("scope", "consent", "ticked", "undecided"),
    [
        # What was said before.
        ("labs", {"bio": "admin", "chem": DECLINED}, {"bio"}, False),
        ("labs", {"bio": "admin", "chem": "admin"}, {"bio", "chem"}, False),
        ("lab:bio", {"bio": DECLINED}, set(), False),
        # Joined later: asked about only where it is asked for by name, unless the user said yes to all of them.
        ("labs", {"bio": "admin"}, {"bio"}, False),
        ("labs lab:chem", {"bio": "admin"}, {"bio", "chem"}, True),
        ("lab:chem", {"chem": NOT_HELD}, {"chem"}, True),
        ("labs", {"chem": NOT_HELD, LATER: "admin"}, {"bio", "chem"}, False),
        ("lab:chem", {LATER: "admin"}, {"chem"}, False),
        # Promoted.
        ("labs", {"bio": "member", "chem": "viewer"}, {"bio", "chem"}, True),
        ("lab:bio:member", {"bio": "member"}, {"bio"}, False),
        # Not held, and whether that was told before.
        ("lab:dust", {}, set(), True),
        ("lab:dust", {"dust": NOT_HELD}, set(), False),
        ("lab:dust", {"dust": DECLINED}, set(), False),
        ("lab:dust", {"dust": "member"}, set(), False),
        ("lab:dust", {LATER: "admin"}, set(), False),
        ("labs", None, {"bio", "chem"}, True),
    ],
)
def test_who_decided_before_is_asked_again_only_about_what_is_new(
    scope: str, consent: Mapping[str, str] | None, ticked: set[str], undecided: bool
):
    shown = choices(f"openid {scope}", consent)
    assert {slug for slug, (_, is_ticked) in boxes(shown).items() if is_ticked} == ticked
    assert shown.undecided is undecided


def test_a_client_that_insists_on_a_lab_has_users_asked_about_those_they_joined_later():
    consent = {"chem": DECLINED}
    assert choices("openid labs", consent, require_lab=RequireLab.ANY).undecided
    assert not choices("openid labs", {**consent, "bio": DECLINED}, require_lab=RequireLab.ANY).undecided
    assert not choices("openid labs", consent).undecided


# ── What an answer means ────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_ticked_may_be_told_with_the_role_that_was_shown_and_nothing_else():
    shown = choices("openid labs lab:dust")
    assert decided(shown, None, ticked={"bio", "dust", "never-shown", LATER}, later=False) == {
        "bio": "admin",
        "chem": DECLINED,
        "dust": NOT_HELD,
    }
    assert decided(shown, None, ticked={"bio", "chem"}, later=True) == {
        "bio": "admin",
        "chem": "viewer",
        "dust": NOT_HELD,
        LATER: "admin",
    }


def test_an_answer_about_one_lab_leaves_what_was_said_of_others():
    before = {"bio": "admin", "dust": "member", LATER: "admin"}
    shown = choices("openid lab:chem lab:dust", before)
    assert decided(shown, before, ticked=set(), later=False) == {**before, "chem": DECLINED}
    # What was asked only up to a role does not take a higher one back, and neither grows beyond what was shown.
    capped = choices("openid lab:bio:viewer", before)
    assert decided(capped, before, ticked={"bio"}, later=False) == before
    assert decided(capped, {"bio": DECLINED}, ticked={"bio"}, later=False) == {"bio": "viewer"}


def test_later_labs_are_decided_on_where_all_are_asked_for():
    shown = choices("openid labs")
    before = {"bio": "admin", "chem": "viewer", LATER: "admin"}
    assert LATER not in (decided(shown, before, ticked={"bio"}, later=False) or {})
    assert decided(choices("openid lab:bio"), None, ticked={"bio"}, later=True) == {"bio": "admin"}


def test_who_was_asked_nothing_about_labs_has_said_nothing_about_them():
    assert decided(LabChoices(), None, ticked={"bio"}, later=True) is None
    assert decided(LabChoices(), {"bio": "admin"}, ticked=(), later=True) == {"bio": "admin"}


def test_what_is_not_held_is_remembered_of_the_latest_two_hundred():
    before = {"bio": "admin", **{f"unknown-{number}": NOT_HELD for number in range(200)}}
    after = decided(choices("openid lab:dust lab:bio", before), before, ticked={"bio"}, later=False)
    assert after is not None
    assert len(after) == 201
    assert ("unknown-0" in after, "unknown-1" in after, after["dust"], after["bio"]) == (
        False,
        True,
        NOT_HELD,
        "admin",
    )


slugs = st.sampled_from(["bio", "chem", "dust"])
scopes = st.lists(st.sampled_from(["labs", "lab:bio", "lab:bio:viewer", "lab:chem:member", "lab:dust"]), min_size=1)
consents = st.dictionaries(slugs | st.just(LATER), st.sampled_from([*map(str, LabRole), DECLINED, NOT_HELD]))


@given(scope=scopes, before=st.none() | consents, ticked=st.sets(slugs), later=st.booleans())
def test_an_answer_gives_nothing_that_was_not_given_before_or_shown_and_ticked_and_is_not_asked_for_again(
    scope: list[str], before: dict[str, str] | None, ticked: set[str], later: bool
):
    shown = choices(" ".join(["openid", *scope]), before)
    after = decided(shown, before, ticked=ticked, later=later)
    assert after is not None
    for choice in shown.labs:
        given_now, given_before = role_given(after, choice.slug), role_given(before or {}, choice.slug)
        if choice.role is None:
            assert given_now in {given_before, role_given(after, "a-lab-joined-later")}
        elif choice.slug in ticked:
            assert given_now is choice.role or (given_now is given_before and given_before is not None)
            assert given_now is not None
            assert given_now.contains(choice.role)
        else:
            assert given_now is None
    assert not choices(" ".join(["openid", *scope]), after).undecided


@pytest.mark.parametrize(
    ("scope", "consent", "used"),
    [
        ("labs", {"bio": "admin", LATER: "admin"}, {"bio": "admin", LATER: "admin"}),
        ("groups", None, None),
        ("openid", {"bio": "admin"}, {}),
        ("openid", None, {}),
        # Whatever becomes of the scope, it is these labs and no others, up to the roles that it names.
        ("groups lab:bio", {"bio": "admin", "chem": "viewer", LATER: "admin"}, {"bio": "admin"}),
        ("groups lab:dust", {"bio": "admin"}, {}),
        ("groups lab:dust", {"bio": "admin", "dust": DECLINED, LATER: "admin"}, {}),
        ("lab:bio:viewer lab:bio:member", {"bio": "admin"}, {"bio": "member"}),
        ("lab:bio:viewer lab:bio", {"bio": "admin"}, {"bio": "admin"}),
        ("lab:bio:member", {"bio": "viewer"}, {"bio": "viewer"}),
        ("lab:bio:member", None, {"bio": "member"}),
        ("lab:dust:viewer", {"dust": NOT_HELD, LATER: "member"}, {"dust": "viewer"}),
        ("labs lab:bio:viewer", {"bio": "admin", "chem": DECLINED}, {"bio": "viewer", "chem": DECLINED}),
        ("labs lab:bio:viewer", None, {"bio": "viewer", LATER: "admin"}),
        ("labs lab:bio:viewer", {"bio": DECLINED}, {"bio": DECLINED}),
    ],
)
def test_a_grant_makes_use_of_the_consent_to_what_was_asked_for(
    scope: str, consent: dict[str, str] | None, used: dict[str, str] | None
):
    assert consent_to(read_lab_request(scope.split()), consent) == used


# ── Incremental authorization ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("scope", "earlier"),
    [
        ("openid", ("lab:bio", "lab:chem:viewer", "lab:moon:member", "lab:moon:viewer")),
        ("openid lab:dust", ("lab:bio", "lab:chem:viewer", "lab:moon:member", "lab:moon:viewer")),
        ("openid groups lab:dust", ("lab:bio", "lab:chem:viewer", "lab:moon:member", "lab:moon:viewer")),
        # Nothing is added to what is asked for anyway.
        ("openid lab:bio lab:moon:member", ("lab:chem:viewer",)),
        ("openid lab:bio:member lab:moon", ("lab:bio", "lab:chem:viewer")),
        # All are asked for anyway; naming some would leave the others out.
        ("openid labs", ()),
        ("openid labs lab:bio", ()),
        ("openid groups", ()),
    ],
)
def test_labs_that_were_given_before_are_added_where_single_ones_are_asked_for(scope: str, earlier: tuple[str, ...]):
    consent = {"bio": "admin", "chem": "viewer", "physics": DECLINED, "moon": "member", LATER: DECLINED}
    assert earlier_labs(consent, scope.split()) == earlier
    assert earlier_labs(None, scope.split()) == ()


# ── Clients that insist on a lab ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("require", "allowed", "scope", "met"),
    [
        (None, (), "openid", True),
        (RequireLab.ANY, "*", "openid labs", True),
        (RequireLab.ANY, ("chem", "dust"), "openid labs", True),
        (RequireLab.ANY, ("dust",), "openid labs", False),
        (RequireLab.ANY, "*", "openid lab:dust", False),
        (RequireLab.ANY, "*", "openid lab:chem:member", False),
        (RequireLab.ALL, ("bio", "chem"), "openid labs", True),
        (RequireLab.ALL, ("bio", "chem", "dust"), "openid labs", False),
        (RequireLab.ALL, (), "openid labs", True),
        (RequireLab.ALL, "*", "openid labs", True),
        (RequireLab.ALL, "*", "openid labs lab:dust", False),
        (RequireLab.ALL, "*", "openid lab:bio lab:chem", True),
        # Whoever edits the scope on its way through the browser is let in no sooner.
        (RequireLab.ALL, ("bio", "chem", "dust"), "openid lab:bio", False),
        (RequireLab.ALL, ("bio", "chem"), "openid lab:bio", True),
        (RequireLab.ALL, ("bio", "chem"), "openid lab:bio lab:chem:member", False),
        (RequireLab.ALL, "*", "openid labs lab:chem:member", False),
        (RequireLab.ALL, "*", "openid labs lab:bio:member", True),
        # Nothing is asked about labs, so the memberships count.
        (RequireLab.ANY, ("chem",), "openid", True),
        (RequireLab.ANY, ("dust",), "openid", False),
        (RequireLab.ALL, ("bio", "dust"), "openid", False),
        (RequireLab.ALL, ("bio", "chem"), "openid", True),
    ],
)
def test_a_client_may_insist_on_any_or_all_of_its_labs(require: RequireLab | None, allowed: Any, scope: str, met: bool):
    client = make_client(require_lab=require, allowed_labs=allowed)
    assert meets(client, scope) is met


def meets(client: Any, scope: str, consent: Mapping[str, str] | None = None) -> bool:
    released = release_labs(
        BIO_AND_CHEM,
        read_lab_request(scope.split()),
        allowed=client.allowed_labs,
        consent=consent,
        now=START,
    )
    return meets_required_labs(client, released, BIO_AND_CHEM, acr="1", now=START)


def test_a_lab_that_is_kept_back_does_not_count():
    client = make_client(require_lab=RequireLab.ANY, allowed_labs="*")
    assert meets(client, "openid labs", {"bio": "viewer"})
    assert not meets(client, "openid labs", {"bio": DECLINED})


def test_nobody_is_in_any_lab_who_is_in_none():
    client = make_client(require_lab=RequireLab.ALL, allowed_labs="*")
    released = release_labs([], read_lab_request(["labs"]), allowed="*", consent=None, now=START)
    assert not meets_required_labs(client, released, [], acr="1", now=START)
