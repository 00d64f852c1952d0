"""What is believed of another provider's ID token: OpenID Connect Core §2, §3.1.3.7, §5.1, §5.3.2."""

import re
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.upstream import UpstreamIdentity
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.protocol.upstream_id_token import Expected, check_address, judge, lowers_to_ascii, with_userinfo
from tests.support.clock import START
from tests.support.strategies import documents

ISSUER = "https://login.campus.example"
GOOGLE = "https://accounts.google.com"
NOW = int(START.timestamp())
NONCE = "n-0S6_WzA2Mj"
MINUTES, HOUR = 600, 3600
ABSENT: Any = object()
EXPECTED = Expected(issuer=ISSUER, client_id="lab-id", nonce=NONCE, at_hash="MTIzNDU2Nzg5MDEyMzQ1Ng")


def claims_of(**changes: Any) -> dict[str, Any]:
    usual = {
        "iss": ISSUER,
        "sub": "248289761001",
        "aud": "lab-id",
        "iat": NOW,
        "exp": NOW + HOUR,
        "nonce": NONCE,
        "email": "Jane@Lab.example",
        "email_verified": True,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not ABSENT}


def judged(expected: Expected = EXPECTED, **changes: Any) -> UpstreamIdentity:
    return judge(claims_of(**changes), expected, now=START)


def refused(expected: Expected = EXPECTED, **changes: Any) -> str:
    with pytest.raises(UpstreamRefused) as caught:
        judged(expected, **changes)
    assert caught.value.fault is UpstreamFault.INVALID
    return caught.value.detail


def told(identity: UpstreamIdentity, userinfo: dict[str, Any], expected: Expected = EXPECTED) -> UpstreamIdentity:
    return with_userinfo(identity, {"sub": identity.sub, **userinfo}, expected)


# ── Tokens that count ───────────────────────────────────────────────────────────────────────────────────────────────
def test_an_id_token_for_us_tells_who_it_is() -> None:
    identity = judged(name="Jane", groups=["a", "b"])
    assert identity.key == (ISSUER, "248289761001")
    assert identity.proven_email == "jane@lab.example"
    assert identity.claims == claims_of(name="Jane", groups=["a", "b"])
    assert (identity.auth_time, identity.acr, identity.amr) == (None, None, ())
    assert (identity.id_token, identity.refresh_token, identity.api_scope) == (None, None, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["lab-id"]},
        {"azp": "lab-id"},
        {"azp": None, "acr": None, "amr": None, "auth_time": None, "at_hash": None, "nbf": None},
        {"nbf": NOW - 300},
        {"nbf": NOW + 60},
        {"at_hash": EXPECTED.at_hash},
        {"iat": NOW + 0.5, "exp": NOW + 1.5},
        {"iat": NOW + 60},
        {"iat": NOW - MINUTES},
        {"exp": NOW - 59},
        {"exp": 10**400},
        {"sub": "~" * 255},
        {"unknown": {"deep": [None, 1.5, True]}},
    ],
)
def test_what_the_specification_allows_is_taken_s2(changes: dict[str, Any]) -> None:
    assert judged(**changes).issuer == ISSUER


def test_google_may_leave_out_the_scheme_and_is_the_same_issuer() -> None:
    expected = Expected(issuer=GOOGLE, client_id="lab-id", nonce=NONCE)
    assert judged(expected, iss="accounts.google.com").issuer == GOOGLE
    assert judged(expected, iss=GOOGLE).issuer == GOOGLE


def test_a_token_without_an_access_token_beside_it_may_have_any_at_hash_s3_1_3_6() -> None:
    assert judged(Expected(issuer=ISSUER, client_id="lab-id", nonce=NONCE), at_hash="anything").sub == "248289761001"


def test_when_and_how_somebody_signed_in_is_told_on_s2() -> None:
    identity = judged(auth_time=NOW - 90, acr="urn:mace:incommon:iap:silver", amr=["pwd", "otp"])
    assert identity.auth_time == START - timedelta(seconds=90)
    assert identity.acr == "urn:mace:incommon:iap:silver"
    assert identity.amr == ("pwd", "otp")


def test_a_provider_whose_clock_is_ahead_makes_no_sign_in_younger_than_now() -> None:
    assert judged(auth_time=NOW + 60).auth_time == START
    assert judged(auth_time=0).auth_time == datetime(1970, 1, 1, tzinfo=UTC)


# ── Tokens that do not ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        # Step 2: the issuer, exactly.
        ({"iss": "https://evil.example"}, "not from there"),
        ({"iss": f"{ISSUER}/"}, "not from there"),
        ({"iss": ISSUER.upper()}, "not from there"),
        ({"iss": "login.campus.example"}, "not from there"),
        ({"iss": "accounts.google.com"}, "not from there"),
        ({"iss": GOOGLE}, "not from there"),
        ({"iss": ABSENT}, "has no iss"),
        ({"iss": [ISSUER]}, "a iss that is none"),
        # Step 3: the audience, and nobody beside us.
        ({"aud": "another"}, "not for us"),
        ({"aud": "another", "azp": "lab-id"}, "not for us"),
        ({"aud": ["another"], "azp": "lab-id"}, "not for us"),
        ({"aud": ["lab-id", "stranger"]}, "not from there, not for us"),
        ({"aud": ["lab-id", "stranger"], "azp": "lab-id"}, "for others as well"),
        ({"aud": ["lab-id", "lab-id"], "azp": "lab-id"}, "for others as well"),
        ({"aud": []}, "not for us"),
        ({"aud": ABSENT}, "has no aud"),
        ({"aud": None}, "has no aud"),
        ({"aud": {"lab-id": True}}, "a aud that is none"),
        ({"aud": ["lab-id", 1]}, "a aud that is none"),
        # Steps 4 and 5.
        ({"azp": "another"}, "not for us"),
        ({"aud": ["lab-id"], "azp": "another"}, "not for us"),
        ({"azp": ["lab-id"]}, "a azp that is none"),
        # Step 9.
        ({"exp": NOW - 60}, "not for now"),
        ({"exp": 0}, "not for now"),
        ({"exp": ABSENT}, "has no exp"),
        ({"exp": True}, "a exp that is none"),
        ({"exp": str(NOW + HOUR)}, "a exp that is none"),
        ({"exp": float("nan")}, "a exp that is none"),
        ({"exp": float("inf")}, "a exp that is none"),
        ({"exp": -1}, "a exp that is none"),
        ({"nbf": NOW + 61}, "not for now"),
        ({"nbf": "now"}, "a nbf that is none"),
        # Step 10.
        ({"iat": NOW - MINUTES - 1}, "too old"),
        ({"iat": 0}, "too old"),
        ({"iat": NOW + 61}, "not for now"),
        ({"iat": ABSENT}, "has no iat"),
        ({"iat": False}, "a iat that is none"),
        ({"iat": float("nan")}, "a iat that is none"),
        # Step 11.
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": NONCE.lower()}, "another sign-in"),
        ({"nonce": ""}, "another sign-in"),
        ({"nonce": "\ud800"}, "another sign-in"),
        ({"nonce": ABSENT}, "has no nonce"),
        ({"nonce": None}, "has no nonce"),
        ({"nonce": [NONCE]}, "a nonce that is none"),
        # §3.1.3.6.
        ({"at_hash": "another"}, "not the one"),
        ({"at_hash": ""}, "not the one"),
        ({"at_hash": 1}, "a at_hash that is none"),
        # §2.
        ({"sub": ABSENT}, "has no sub"),
        ({"sub": ""}, "a sub that is none"),
        ({"sub": 248289761001}, "a sub that is none"),
        ({"sub": "1" * 256}, "a sub that is none"),
        ({"sub": "jané"}, "a sub that is none"),
        ({"sub": "jane\x00"}, "a sub that is none"),
        ({"sub": "jane\n"}, "a sub that is none"),
        ({"auth_time": NOW + 61}, "in the future"),
        ({"auth_time": True}, "a auth_time that is none"),
        ({"auth_time": str(NOW)}, "a auth_time that is none"),
        ({"auth_time": -1e30}, "a auth_time that is none"),
        ({"acr": ["1"]}, "a acr that is none"),
        ({"acr": 1}, "a acr that is none"),
        ({"amr": "pwd"}, "a amr that is none"),
        ({"amr": ["pwd", 1]}, "a amr that is none"),
    ],
    ids=lambda value: re.sub(r" at 0x[0-9a-f]+", "", repr(value)),
)
def test_any_other_token_is_refused_s3_1_3_7(changes: dict[str, Any], detail: str) -> None:
    assert detail in refused(**changes)


def test_a_detail_repeats_nothing_of_the_token() -> None:
    for name in ("iss", "aud", "azp", "exp", "nbf", "iat", "nonce", "at_hash", "auth_time", "amr"):
        assert "SECRET" not in refused(**{name: "SECRET"})


@given(documents)
def test_whatever_is_signed_is_judged_or_refused(claims: Any) -> None:
    candidate = {**claims_of(), **claims} if isinstance(claims, dict) else {"sub": claims}
    with suppress(UpstreamRefused):
        assert judge(candidate, EXPECTED, now=START).issuer == ISSUER


@given(st.sampled_from(sorted(claims_of())), documents)
def test_one_strange_claim_never_breaks_the_judgement(name: str, value: Any) -> None:
    try:
        identity = judged(**{name: value})
    except UpstreamRefused:
        return
    assert identity.sub
    assert identity.email is None or "@" in identity.email


# ── Addresses ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("changes", "assumed", "proven"),
    [
        ({}, False, True),
        ({"email_verified": "true"}, False, True),
        ({"email_verified": "True"}, False, False),
        ({"email_verified": 1}, False, False),
        ({"email_verified": False}, False, False),
        ({"email_verified": "false"}, True, False),
        ({"email_verified": False}, True, False),
        ({"email_verified": 0}, True, False),
        ({"email_verified": ABSENT}, False, False),
        ({"email_verified": None}, False, False),
        ({"email_verified": ABSENT}, True, True),
        ({"email": ABSENT}, True, False),
    ],
)
def test_an_address_is_proven_where_the_provider_says_so_or_never_says_and_is_trusted_s5_1(
    changes: dict[str, Any], assumed: bool, proven: bool
) -> None:
    expected = Expected(issuer=ISSUER, client_id="lab-id", nonce=NONCE, assume_email_verified=assumed)
    assert judged(expected, **changes).proven_email == ("jane@lab.example" if proven else None)


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("Jane@Lab.example", "jane@lab.example"),
        ("o'hara+lab@example.org", "o'hara+lab@example.org"),
        ("jäne@exämple.org", "jäne@exämple.org"),
        ("jane@localhost", "jane@localhost"),
        ("jane", None),
        ("", None),
        ("jane@", None),
        ("@example.org", None),
        ("jane@a@example.org", None),
        ("jane doe@example.org", None),
        ("jane@example.org\n", None),
        ("jane\x00@example.org", None),
        ("jane\u202e@example.org", None),
        ("<jane@example.org>", None),
        ("jane@-example.org", None),
        ("j" * 65 + "@example.org", None),
        ("jane@" + ".".join(["a" * 60] * 5), None),
        # In lower case these would be kate@, kaethe@ and jim@: other people's mailboxes, or another domain.
        ("\N{KELVIN SIGN}ate@example.org", None),
        ("\N{KELVIN SIGN}äthe@example.org", None),
        ("J\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}m@example.org", None),
        ("jane@\N{KELVIN SIGN}.example", None),
        ("ÄNN@example.org", "änn@example.org"),
        (None, None),
        (["jane@example.org"], None),
        (1, None),
    ],
)
def test_an_address_that_is_none_counts_as_none(address: Any, read: str | None) -> None:
    assert check_address(address) == read
    identity = judged(email=address)
    assert (identity.email, identity.proven_email) == (read, read)


def test_no_letter_beyond_ascii_becomes_one_of_ascii_unnoticed() -> None:
    letters = (chr(number) for number in range(0x80, sys.maxunicode + 1))
    cased = [letter for letter in letters if letter.lower() != letter]
    assert len(cased) > 1000
    turned = {letter for letter in cased if any(mark.isascii() for mark in letter.lower())}
    assert {letter for letter in cased if lowers_to_ascii(letter)} == turned
    assert "\N{KELVIN SIGN}" in turned
    assert not lowers_to_ascii("KATE@EXAMPLE.ORG")


def test_an_address_of_another_claim_is_not_vouched_for_by_email_verified_s5_1() -> None:
    expected = Expected(issuer=ISSUER, client_id="lab-id", nonce=NONCE, email_claim="upn")
    identity = judged(expected, upn="Boss@Campus.example")
    assert (identity.email, identity.proven_email) == ("boss@campus.example", None)
    assert judged(expected, upn="Jane@Lab.example").proven_email == "jane@lab.example"
    trusting = Expected(issuer=ISSUER, client_id="lab-id", nonce=NONCE, email_claim="upn", assume_email_verified=True)
    assert judged(trusting, upn="boss@campus.example").proven_email == "boss@campus.example"
    assert judged(trusting, upn="boss@campus.example", email_verified=False).proven_email is None


# ── Userinfo ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_userinfo_fills_in_what_the_id_token_does_not_tell_s5_3_2() -> None:
    bare = judged(email=ABSENT, email_verified=ABSENT, name="Jane")
    assert bare.email is None
    identity = told(bare, {"email": "Jane@Lab.example", "email_verified": True, "name": "Joe", "groups": ["a"]})
    assert identity.proven_email == "jane@lab.example"
    assert (identity.claims["name"], identity.claims["groups"]) == ("Jane", ["a"])


@pytest.mark.parametrize("sub", [ABSENT, None, "", "1", 248289761001, "248289761001 ", ["248289761001"]])
def test_userinfo_about_somebody_else_is_refused_s5_3_2(sub: Any) -> None:
    userinfo = {"sub": sub, "email": "boss@lab.example"}
    with pytest.raises(UpstreamRefused) as caught:
        with_userinfo(judged(), {name: value for name, value in userinfo.items() if value is not ABSENT}, EXPECTED)
    assert caught.value.fault is UpstreamFault.INVALID
    assert "somebody else" in caught.value.detail


def test_userinfo_says_nothing_about_the_sign_in_nor_the_organisation_s5_3() -> None:
    identity = judged()
    lies = {
        "iss": "https://evil.example",
        "auth_time": NOW,
        "acr": "mfa",
        "amr": ["mfa"],
        "hd": "campus.example",
        "aud": "x",
        "nonce": "y",
        "sid": "z",
    }
    after = told(identity, lies)
    assert (after.issuer, after.auth_time, after.acr, after.amr) == (ISSUER, None, None, ())
    assert {name: value for name, value in after.claims.items() if name in lies} == {
        name: value for name, value in claims_of().items() if name in lies
    }


@pytest.mark.parametrize(
    ("signed", "userinfo", "proven"),
    [
        # The token's word is the last one.
        ({"email_verified": False}, {"email": "jane@lab.example", "email_verified": True}, None),
        ({}, {"email": "boss@lab.example", "email_verified": False}, "jane@lab.example"),
        # Where it says nothing of the address, userinfo's counts for the same address only; a no counts always.
        ({"email_verified": ABSENT}, {"email": "Jane@Lab.example", "email_verified": True}, "jane@lab.example"),
        ({"email_verified": ABSENT}, {"email": "boss@lab.example", "email_verified": True}, None),
        ({"email_verified": ABSENT}, {"email_verified": True}, None),
        ({"email_verified": ABSENT}, {}, None),
        # A verified mark without an address is no mark for userinfo's.
        ({"email": ABSENT}, {"email": "boss@lab.example"}, None),
        ({"email": ABSENT}, {"email": "boss@lab.example", "email_verified": False}, None),
        ({"email": ABSENT}, {"email": "boss@lab.example", "email_verified": True}, "boss@lab.example"),
    ],
)
def test_an_address_and_whether_it_is_verified_come_from_the_same_place_s5_1(
    signed: dict[str, Any], userinfo: dict[str, Any], proven: str | None
) -> None:
    assert told(judged(**signed), userinfo).proven_email == proven


@pytest.mark.parametrize(
    ("userinfo", "proven"),
    [
        ({}, True),
        ({"email": "boss@lab.example", "email_verified": True}, True),
        ({"email": "jane@lab.example", "email_verified": False}, False),
        ({"email": "boss@lab.example", "email_verified": False}, False),
    ],
)
def test_a_no_in_userinfo_outweighs_what_is_assumed(userinfo: dict[str, Any], proven: bool) -> None:
    expected = Expected(issuer=ISSUER, client_id="lab-id", nonce=NONCE, assume_email_verified=True)
    identity = told(judged(expected, email_verified=ABSENT), userinfo, expected)
    assert identity.proven_email == ("jane@lab.example" if proven else None)
