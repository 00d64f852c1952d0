"""Consent by lab."""

from hypothesis import given
from hypothesis import strategies as st

from idp.domain.consent import DECLINED, LATER, NOT_HELD, covers_labs, narrowed, role_given, unasked
from idp.domain.lab import LabRole

slugs = st.sampled_from(["bio", "chem", "physics", LATER])
consents = st.dictionaries(slugs, st.sampled_from([*map(str, LabRole), DECLINED, NOT_HELD]))


def test_what_was_said_of_a_lab_counts_else_what_was_said_of_later_ones():
    labs = {"bio": "admin", "chem": DECLINED, "physics": NOT_HELD}
    assert role_given(labs, "bio") is LabRole.ADMIN
    assert role_given(labs, "chem") is None
    assert role_given(labs, "physics") is None
    assert role_given(labs, "dust") is None
    later = {**labs, LATER: "member"}
    assert role_given(later, "chem") is None
    assert role_given(later, "physics") is LabRole.MEMBER
    assert role_given(later, "dust") is LabRole.MEMBER


def test_a_narrower_consent_takes_away_what_it_keeps_back():
    assert narrowed({"bio": "admin", LATER: "admin"}, {"bio": "viewer", "chem": DECLINED, LATER: "admin"}) == {
        "bio": "viewer",
        "chem": DECLINED,
        LATER: "admin",
    }


@given(consents, consents, slugs)
def test_what_is_narrowed_gives_no_more_than_either(labs: dict[str, str], by: dict[str, str], slug: str):
    role = role_given(narrowed(labs, by), slug)
    for consent in (labs, by):
        held = role_given(consent, slug)
        assert role is None or (held is not None and held.contains(role))
    assert covers_labs(labs, narrowed(labs, by))


@given(consents, consents)
def test_a_consent_covers_another_exactly_when_narrowing_by_it_changes_nothing(
    held: dict[str, str], used: dict[str, str]
):
    same = all(role_given(narrowed(used, held), slug) is role_given(used, slug) for slug in {*used, *held})
    assert covers_labs(held, used) is same


def test_where_nobody_is_asked_all_is_given_but_what_was_refused():
    labs = unasked({"bio": DECLINED, "chem": "viewer", "dust": NOT_HELD})
    assert [role_given(labs, slug) for slug in ("bio", "chem", "dust", "any")] == [
        None,
        LabRole.VIEWER,
        LabRole.ADMIN,
        LabRole.ADMIN,
    ]
    assert role_given(unasked(None), "any") is LabRole.ADMIN
