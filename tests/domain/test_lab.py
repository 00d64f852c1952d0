"""Labs and memberships."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.lab import RESERVED_SLUGS, LabRole, LabStatus, ManagedBy, is_lab_slug
from tests.support.clock import START
from tests.support.factories import make_membership

SECOND = timedelta(seconds=1)


def test_each_role_contains_those_below_it():
    assert LabRole.ADMIN.expanded == ("admin", "member", "viewer")
    assert LabRole.MEMBER.expanded == ("member", "viewer")
    assert LabRole.VIEWER.expanded == ("viewer",)


def test_statuses_and_origins_keep_the_words_that_are_stored():
    assert list(LabStatus) == ["active", "archived"]
    assert list(ManagedBy) == ["apply", "admin", "registration", "settings"]


@pytest.mark.parametrize("slug", ["a", "7", "bio", "bio-2", "a-b-c", "a" * 39, "a" + "-a" * 38])
def test_a_slug_is_lower_case_letters_digits_and_single_inner_hyphens(slug: str):
    assert is_lab_slug(slug)


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "-bio",
        "bio-",
        "bio--2",
        "Bio",
        "bio_2",
        "bio 2",
        "bio\n",
        "bio:admin",
        "bïo",
        "biо",  # a Cyrillic letter that looks like a Latin one
        "٣",  # a digit of another script
        "a" * 40,
        "a" + "-a" * 39,
    ],
)
def test_anything_else_is_no_slug(slug: str):
    assert not is_lab_slug(slug)


@pytest.mark.parametrize("slug", ["system", "admin", "root", "all", "none", "me"])
def test_a_reserved_word_is_no_slug(slug: str):
    assert slug in RESERVED_SLUGS
    assert not is_lab_slug(slug)


@given(st.text())
def test_any_text_is_judged_and_a_slug_never_holds_what_separates_scopes_and_groups(text: str):
    assert not is_lab_slug(text) or text.isascii()
    for separator in ":/ \n":
        assert not is_lab_slug(f"{text}{separator}")


@pytest.mark.parametrize(
    ("not_before", "expires_at", "valid"),
    [
        (None, None, True),
        (-SECOND, None, True),
        (timedelta(), None, True),
        (SECOND, None, False),
        (None, SECOND, True),
        (None, timedelta(), False),
        (None, -SECOND, False),
        (-SECOND, SECOND, True),
        (-SECOND, -SECOND, False),
        (SECOND, 2 * SECOND, False),
    ],
)
def test_a_membership_counts_from_its_beginning_until_before_its_end(
    not_before: timedelta | None, expires_at: timedelta | None, valid: bool
):
    membership = make_membership(
        not_before=None if not_before is None else START + not_before,
        expires_at=None if expires_at is None else START + expires_at,
    )
    assert membership.valid(now=START) is valid
