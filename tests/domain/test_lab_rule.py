"""Rules that make members of labs, and what is kept for them of what a provider tells."""

from typing import Any

import pytest

from idp.domain.lab import LabRole
from idp.domain.lab_rule import LabRule, best_rule, given_by_rule, kept_claims
from idp.domain.upstream import LinkedAccount
from tests.support.clock import START


def make_rule(**changes: Any) -> LabRule:
    defaults = {
        "id": "lr_1",
        "lab_id": "lab_bio",
        "provider": "google",
        "claim": "hd",
        "value": "example.org",
        "role": LabRole.MEMBER,
        "created_by": "u_ada",
        "created_at": START,
    }
    return LabRule(**{**defaults, **changes})


ISSUERS = {"google": "https://g.example", "other": "https://o.example"}


def make_account(claims: dict[str, Any], *, provider: str = "google", issuer: str | None = None) -> LinkedAccount:
    return LinkedAccount(
        id="la_1",
        issuer=issuer or ISSUERS[provider],
        sub="1",
        user_id="u_eve",
        provider=provider,
        created_at=START,
        claims=claims,
    )


@pytest.mark.parametrize(
    "told",
    [
        None,
        "EXAMPLE.org",
        "example.org ",
        "sub.example.org",
        "example.org.evil.example",
        ["Example.org"],
        {"example.org": True},
        True,
        7,
    ],
)
def test_what_is_told_must_be_the_value_exactly(told: Any):
    assert not make_rule().matches(make_account({"hd": told}), ISSUERS)
    assert not make_rule().matches(make_account({}), ISSUERS)


def test_a_rule_matches_a_text_or_one_entry_of_a_list_from_its_own_provider():
    assert make_rule().matches(make_account({"hd": "example.org"}), ISSUERS)
    staff = make_rule(claim="groups", value="staff")
    assert staff.matches(make_account({"groups": ["all", "staff"]}), ISSUERS)
    assert not staff.matches(make_account({"groups": "all staff"}), ISSUERS)
    assert not make_rule().matches(make_account({"hd": "example.org"}, provider="other"), ISSUERS)


@pytest.mark.parametrize("issuer", ["https://old.example", "https://g.example/", "https://o.example", "google"])
def test_what_another_issuer_told_under_the_name_of_the_provider_counts_for_no_rule(issuer: str):
    assert not make_rule().matches(make_account({"hd": "example.org"}, issuer=issuer), ISSUERS)


def test_a_provider_that_is_gone_matches_nobody():
    assert not make_rule().matches(make_account({"hd": "example.org"}), {"other": ISSUERS["google"]})


def test_the_highest_role_wins_and_among_equals_the_rule_that_gave_the_present_one():
    first, second = make_rule(), make_rule(id="lr_2", claim="groups", value="staff")
    viewer = make_rule(id="lr_3", role=LabRole.VIEWER)
    assert best_rule([viewer, first, second]) is first
    assert best_rule([viewer, first, second], present="lr_2") is second
    assert best_rule([viewer, first], present="lr_3") is first
    assert best_rule([]) is None


def test_a_membership_by_a_rule_is_told_apart_from_those_that_people_and_programs_gave():
    assert given_by_rule("lr_1")
    assert not any(given_by_rule(giver) for giver in (None, "u_ada", "cli", "apply", "robot"))


# ── What is kept ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_short_texts_and_lists_of_them_are_kept_as_they_are_told():
    told = {"hd": "example.org", "groups": ["staff", "Bio"], "https://example.org/unit": "Genetics", "sub": "1" * 200}
    assert kept_claims(told) == told


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        7,
        1.5,
        {"a": "b"},
        "x" * 201,
        ["x" * 201],
        ["staff", 7],
        [["staff"]],
        ["x"] * 501,
        "a\0b",
        "\ud800",
        ["\udfff"],
    ],
)
def test_what_is_large_nested_or_cannot_be_stored_is_left_out_as_a_whole(value: Any):
    assert kept_claims({"groups": value, "hd": "example.org"}) == {"hd": "example.org"}


def test_a_claim_of_a_strange_name_is_left_out():
    assert kept_claims({"x" * 201: "a", "a\0b": "a"}) == {}


@pytest.mark.parametrize("name", ["name", "picture", "locale", "nickname", "preferred_username", "nonce", "aud", "sid"])
def test_what_people_say_of_themselves_and_what_is_about_the_token_is_not_kept(name: str):
    assert kept_claims({name: "staff"}) == {}


@pytest.mark.parametrize(("verified", "kept"), [(True, True), (False, False), ("true", False), (None, False)])
def test_an_address_is_kept_only_where_it_is_verified(verified: Any, kept: bool):
    claims = {"email": "ada@example.org", "email_verified": verified}
    assert kept_claims(claims).get("email") == ("ada@example.org" if kept else None)


def test_at_most_16_kib_are_kept_and_the_hosted_domain_before_all_others():
    flood = {f"a{number:03}": ["x" * 200] * 21 for number in range(250)}
    kept = kept_claims({**flood, "hd": "example.org", "z": "small enough"})
    assert kept["hd"] == "example.org"
    assert kept["z"] == "small enough"
    assert len(str(kept)) < 16 * 1024
    assert 3 <= len(kept) < 8
