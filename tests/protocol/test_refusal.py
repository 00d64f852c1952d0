"""What of a refused request is kept, and how it reads."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.domain.client import ClientAuthMethod, GrantType
from idp.protocol import refusal
from idp.protocol.parameters import Parameters
from idp.protocol.refusal import Comparison, beside, cause_of, clock_remarks, compare, jwt_facts, reduce_jwt, shown
from tests.support.clock import START
from tests.support.factories import REDIRECT_URI, make_client
from tests.support.strategies import documents

NOW = int(START.timestamp())
EVERY_NAME = (*refusal.KEPT, *refusal.MEASURED, *refusal.MENTIONED, *refusal.JWTS)


def sent(**values: str) -> dict[str, str]:
    return refusal.sent_parameters(Parameters(values))


def compared(error: str, values: dict[str, str], **changes: Any) -> list[Comparison]:
    arguments = {"authentication": "none", "jwts": {}}
    arguments |= {name: changes.pop(name) for name in arguments if name in changes}
    return list(compare(error, make_client(**changes), Parameters(values), **arguments))


# ── What is kept ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_says_nothing_about_a_person_and_opens_nothing_is_kept():
    values = {"client_id": "portal", "redirect_uri": REDIRECT_URI, "scope": "openid", "prompt": "none"}
    assert sent(**values) == values


@pytest.mark.parametrize("name", [*refusal.MEASURED, *refusal.JWTS])
def test_of_a_secret_that_a_machine_made_only_the_length_is_kept(name: str):
    assert sent(**{name: "0123456789"}) == {name: "present, 10 characters"}


@pytest.mark.parametrize("name", refusal.MENTIONED)
def test_of_what_people_chose_or_are_called_nothing_is_kept(name: str):
    assert sent(**{name: "0123456789"}) == {name: "present"}


@pytest.mark.parametrize(
    "name", ["username", "password", "csrf", "interaction", "unknown", "name", "email", "contacts"]
)
def test_what_is_on_no_list_is_not_even_mentioned(name: str):
    assert sent(**{name: "0123456789"}) == {}


def test_the_reference_of_a_pushed_request_is_a_secret_rfc9126_s2_2():
    assert sent(request_uri="urn:ietf:params:oauth:request_uri:x") == {"request_uri": "present, 35 characters"}
    assert sent(request_uri="https://portal.example.org/r.jwt#x") == {
        "request_uri": "https://portal.example.org/r.jwt#x"
    }


@given(st.dictionaries(st.sampled_from((*EVERY_NAME, "password", "unknown")), st.text(min_size=1)))
def test_whatever_is_sent_is_bounded_visible_and_in_the_same_order(values: dict[str, str]):
    kept = sent(**values)
    assert all(text.isprintable() for text in kept.values())
    assert list(kept) == [name for name in EVERY_NAME if name in values]


def test_long_values_are_cut_with_their_length():
    assert shown("x" * 501) == "x" * 500 + "… (501 characters)"
    assert shown("x" * 500) == "x" * 500


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202egnp", "a\nb", "\x00", "\ud800", "\u2028"])
def test_nothing_reaches_a_terminal_but_visible_characters(text: str):
    assert shown(text).isprintable()
    assert "\\" in shown(text)


def test_a_password_in_an_address_is_not_kept_rfc3986_s3_2_1():
    assert sent(redirect_uri="https://alice:secret@portal.example.org/") == {
        "redirect_uri": "https://***@portal.example.org/"
    }


def test_known_parameters_that_came_twice_are_named_and_unknown_ones_are_not():
    params = Parameters({}, frozenset({"state", "scope", "a-secret-name"}))
    assert refusal.repeated_parameters(params) == ("scope", "state")


# ── JWTs ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_jwt_is_reduced_to_algorithm_key_type_issuer_audience_and_times():
    header = {"alg": "ES256", "kid": "k1", "typ": "JWT", "jwk": {"kty": "EC"}, "x5u": "https://evil.example"}
    claims = {"iss": "portal", "sub": "u_alice", "aud": "https://idp.example.org", "jti": "secret", "nonce": "secret"}
    times = {"iat": NOW, "nbf": NOW + 0.5, "exp": NOW + 60}
    assert reduce_jwt(header, {**claims, **times, "email": "alice@example.org"}) == {
        "alg": "ES256",
        "kid": "k1",
        "typ": "JWT",
        "iss": "portal",
        "aud": ["https://idp.example.org"],
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 60,
    }


def test_of_several_audiences_those_that_are_texts_are_kept():
    assert reduce_jwt({}, {"aud": ["a", 1, None, "b", *map(str, range(50))]})["aud"][:2] == ["a", "b"]
    assert len(reduce_jwt({}, {"aud": [*map(str, range(50))]})["aud"]) == 20
    assert reduce_jwt({}, {"aud": [1]}) == {}


@pytest.mark.parametrize("time", ["now", True, None, -1, 1e300, float("inf"), float("nan"), [NOW]])
def test_what_is_no_time_is_left_out(time: Any):
    assert reduce_jwt({}, {"exp": time}) == {}


@given(documents, documents)
def test_any_jwt_can_be_reduced_and_shown(header: dict[str, Any], claims: dict[str, Any]):
    reduced = reduce_jwt({**header, "kid": header}, {**claims, "exp": NOW})
    assert dict(jwt_facts(reduced))["exp"] == "2026-01-05 12:00:00 UTC"
    assert clock_remarks(reduced, at=START + timedelta(seconds=1))


def test_the_facts_of_a_jwt_are_readable():
    assert jwt_facts({"alg": "RS256", "aud": ["a", "b"], "iat": NOW}) == [
        ("alg", "RS256"),
        ("aud", "a, b"),
        ("iat", "2026-01-05 12:00:00 UTC"),
    ]


# ── Clocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("jwt", "remark"),
    [
        ({"exp": NOW - 180}, "It expired 3 minutes before our time."),
        ({"exp": NOW}, "It expired 0 seconds before our time."),
        ({"exp": NOW - 1}, "It expired 1 second before our time."),
        ({"exp": NOW - 86_400 * 3}, "It expired 3 days before our time."),
        ({"exp": NOW + 7200}, "It expires 2 hours after our time."),
        ({"nbf": NOW + 60}, "It is not valid until 1 minute after our time."),
        ({"iat": NOW + 3600}, "It was issued 1 hour after our time: the sender's clock is ahead."),
    ],
)
def test_it_is_said_whose_clock_was_off(jwt: dict[str, int], remark: str):
    assert clock_remarks(jwt, at=START) == [remark]


@pytest.mark.parametrize("jwt", [{}, {"iat": NOW, "nbf": NOW, "exp": NOW + 3600}])
def test_nothing_is_said_of_clocks_that_agree(jwt: dict[str, int]):
    assert clock_remarks(jwt, at=START) == []


# ── The rule ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_cause_is_the_detail_where_there_is_one():
    assert cause_of("invalid_client", "Fixed.", "wrong secret", Parameters({})).public == "wrong secret"
    assert cause_of("invalid_client", "Fixed.", "", Parameters({})).operator == "Fixed."


@pytest.mark.parametrize("error", ["invalid_scope", "access_denied"])
def test_all_that_can_be_wrong_with_a_lab_is_one_cause_to_the_client(error: str):
    params = Parameters({"scope": "openid lab:bio:member"})
    unknown, no_member = (cause_of(error, "Fixed.", detail, params) for detail in ("no such lab", "not a member"))
    assert unknown.public == no_member.public
    assert (unknown.operator, no_member.operator) == ("no such lab", "not a member")


@pytest.mark.parametrize(("error", "scope"), [("invalid_scope", "openid labs"), ("invalid_request", "lab:bio")])
def test_other_causes_are_told_as_they_are(error: str, scope: str):
    assert cause_of(error, "Fixed.", "the reason", Parameters({"scope": scope})).public == "the reason"


# ── Sent beside registered ──────────────────────────────────────────────────────────────────────────────────────────
ASSERTION = {"client_assertion": {"alg": "RS256"}}
OBJECT = {"request": {"alg": "none"}}


@pytest.mark.parametrize(
    ("error", "values", "changes", "expected"),
    [
        (
            "invalid_redirect_uri",
            {"redirect_uri": f"{REDIRECT_URI}/"},
            {},
            Comparison("redirect_uri", f"{REDIRECT_URI}/", "redirect_uris", (REDIRECT_URI,)),
        ),
        ("invalid_redirect_uri", {}, {}, Comparison("redirect_uri", None, "redirect_uris", (REDIRECT_URI,))),
        (
            "invalid_scope",
            {"scope": "openid data:read"},
            {"scope": "openid email"},
            Comparison("scope", "openid data:read", "scope", ("openid email",)),
        ),
        (
            "invalid_scope",
            {"scope": "lab:bio:viewer lab:chem"},
            {"scope": "openid", "allowed_labs": ("bio",)},
            Comparison("scope", "lab:bio:viewer lab:chem", "scope", ("openid lab:bio lab:bio:viewer",)),
        ),
        (
            "invalid_scope",
            {"scope": "openid lab:chem"},
            {"scope": "openid lab:chem", "allowed_labs": ("bio",)},
            Comparison("scope", "openid lab:chem", "scope", ("openid lab:bio",)),
        ),
        (
            "invalid_scope",
            {"scope": "lab:bio:owner"},
            {"scope": "openid", "allowed_labs": "*"},
            Comparison("scope", "lab:bio:owner", "scope", ("openid",)),
        ),
        (
            "unsupported_response_type",
            {"response_type": "token"},
            {},
            Comparison("response_type", "token", "response_types", ("code",)),
        ),
        (
            "unauthorized_client",
            {"response_type": "code token"},
            {},
            Comparison("response_type", "code token", "response_types", ("code",)),
        ),
        (
            "unauthorized_client",
            {"grant_type": "client_credentials"},
            {"grant_types": (GrantType.AUTHORIZATION_CODE,)},
            Comparison("grant_type", "client_credentials", "grant_types", ("authorization_code",)),
        ),
        (
            "invalid_request",
            {"response_type": "code", "code_challenge_method": "plain", "code_challenge": "x"},
            {},
            Comparison("code_challenge_method", "plain", "require_pkce", ("S256 with a code_challenge",)),
        ),
        (
            "invalid_request",
            {"response_type": "code id_token", "code_challenge_method": "S256"},
            {},
            Comparison("code_challenge_method", "S256", "require_pkce", ("S256 with a code_challenge",)),
        ),
        (
            "invalid_request",
            {"post_logout_redirect_uri": "https://evil.example/"},
            {},
            Comparison("post_logout_redirect_uri", "https://evil.example/", "post_logout_redirect_uris", ()),
        ),
        (
            "invalid_client",
            {},
            {"authentication": "client_secret_post", "token_endpoint_auth_method": ClientAuthMethod.NONE},
            Comparison("authentication", "client_secret_post", "token_endpoint_auth_method", ("none",)),
        ),
        (
            "invalid_client",
            {},
            {
                "authentication": "private_key_jwt",
                "jwts": ASSERTION,
                "token_endpoint_auth_method": ClientAuthMethod.PRIVATE_KEY_JWT,
                "token_endpoint_auth_signing_alg": "ES256",
            },
            Comparison("client_assertion: alg", "RS256", "token_endpoint_auth_signing_alg", ("ES256",)),
        ),
        (
            "invalid_request_object",
            {},
            {"jwts": OBJECT, "request_object_signing_alg": "PS256"},
            Comparison("request: alg", "none", "request_object_signing_alg", ("PS256",)),
        ),
        (
            "invalid_request_uri",
            {"request_uri": "https://portal.example.org/b"},
            {"request_uris": ("https://portal.example.org/a",)},
            Comparison(
                "request_uri", "https://portal.example.org/b", "request_uris", ("https://portal.example.org/a",)
            ),
        ),
    ],
)
def test_what_was_sent_stands_beside_what_is_registered(
    error: str, values: dict[str, str], changes: dict[str, Any], expected: Comparison
):
    assert compared(error, values, **changes) == [expected]


@pytest.mark.parametrize(
    ("error", "values", "changes"),
    [
        ("invalid_scope", {"scope": "email openid"}, {}),
        ("invalid_scope", {"scope": "openid lab:bio"}, {"allowed_labs": ("bio",)}),
        ("unauthorized_client", {"response_type": "code", "grant_type": "refresh_token"}, {}),
        ("unauthorized_client", {"response_type": "id_token code"}, {"response_types": ("code id_token",)}),
        ("invalid_request", {"response_type": "id_token"}, {}),
        ("invalid_request", {"response_type": "code"}, {"require_pkce": False}),
        ("invalid_request", {"response_type": "code", "code_challenge_method": "S256", "code_challenge": "x"}, {}),
        ("invalid_client", {}, {"authentication": "client_secret_post"}),
        ("invalid_client", {}, {"authentication": "client_secret_basic", "jwts": ASSERTION}),
        ("invalid_request_object", {}, {"request_object_signing_alg": "PS256"}),
        ("invalid_redirect_uri", {"redirect_uris": "http://evil.example/"}, {}),
        ("login_required", {"redirect_uri": "https://evil.example/"}, {}),
    ],
)
def test_what_fits_or_cannot_be_why_is_not_compared(error: str, values: dict[str, str], changes: dict[str, Any]):
    assert compared(error, values, **changes) == []


def test_of_many_registered_values_twenty_are_kept():
    (found,) = compared("invalid_redirect_uri", {}, redirect_uris=tuple(f"https://a.example/{n}" for n in range(99)))
    assert len(found.registered) == 20


# ── How it reads ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_differing_characters_are_marked_in_what_was_sent_and_in_the_closest():
    registered = ("https://a.example/cb", "https://b.example/")
    assert beside(Comparison("redirect_uri", "http://a.example/cb", "redirect_uris", registered)) == [
        ("The application sent", [("http", False), ("://a.example/cb", False)]),
        ("Closest registered", [("http", False), ("s", True), ("://a.example/cb", False)]),
        ("Also registered", [("https://b.example/", False)]),
    ]


def test_what_is_no_uri_is_compared_word_by_word():
    assert beside(Comparison("scope", "openid data:read", "scope", ("email openid",))) == [
        ("The application sent", [("openid", False), (" ", False), ("data:read", True)]),
        ("Registered", [("email openid", False)]),
    ]


def test_what_is_missing_on_either_side_is_called_nothing():
    assert beside(Comparison("redirect_uri", None, "redirect_uris", ("a", "b"))) == [
        ("The application sent", [("nothing", False)]),
        ("Registered", [("a", False)]),
        ("Registered", [("b", False)]),
    ]
    assert beside(Comparison("request_uri", "x", "request_uris", ())) == [
        ("The application sent", [("x", False)]),
        ("Registered", [("nothing", False)]),
    ]
