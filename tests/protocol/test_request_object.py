"""Request objects."""

from datetime import timedelta
from typing import Any

import pytest

from idp.domain.client import Client
from idp.protocol.errors import (
    InvalidRequest,
    InvalidRequestObject,
    InvalidRequestUri,
    RequestNotSupported,
    RequestUriNotSupported,
)
from idp.protocol.parameters import Parameters, parse_parameters
from idp.protocol.request_object import accepted_algorithms, check_present, check_request_uri, check_type, merge
from tests.support.clock import START
from tests.support.factories import CLIENT_ID, ISSUER, REDIRECT_URI, make_authorization_params, make_client

NOW = int(START.timestamp())
SIGNED = ("RS256", "PS256", "ES256", "EdDSA")
STRICT = make_client(require_signed_request_object=True)


def merged(claims: dict[str, Any], *, client: Client | None = None, **outer: str | None) -> Parameters:
    params = make_authorization_params(**outer)
    return merge(client or make_client(), params, claims, issuer=ISSUER, now=START)


def refused(claims: dict[str, Any], **outer: str | None) -> str:
    with pytest.raises(InvalidRequestObject) as error:
        merged(claims, **outer)
    return error.value.description


# ── By reference ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_reference_is_compared_as_a_string_its_fragment_included_oidc_core_s6_2():
    client = make_client(request_uris=("https://portal.example.org/r.jwt#GkurKxf5T0Y",))
    check_request_uri(client, "https://portal.example.org/r.jwt#GkurKxf5T0Y")
    for other in ("https://portal.example.org/r.jwt", "https://portal.example.org/r.jwt#x", "https://evil.example/r"):
        with pytest.raises(InvalidRequestUri):
            check_request_uri(client, other)


def test_a_client_that_registered_none_may_send_none_oidc_core_s6_2():
    with pytest.raises(RequestUriNotSupported):
        check_request_uri(make_client(), "https://portal.example.org/r.jwt")


def test_two_objects_at_once_are_an_invalid_request_rfc9101_s5():
    with pytest.raises(InvalidRequest):
        check_present(make_client(), Parameters({"request": "a", "request_uri": "b"}))


def test_who_promised_to_sign_requests_sends_no_others_rfc9101_s10_5():
    with pytest.raises(InvalidRequest):
        check_present(STRICT, Parameters({}))
    check_present(STRICT, Parameters({"request": "x"}))
    check_present(make_client(), Parameters({}))


# ── Algorithms ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_a_registered_algorithm_any_signature_of_the_clients_keys_counts_oidc_registration_s2():
    for alg in SIGNED:
        assert accepted_algorithms(make_client(), alg) == SIGNED


def test_only_the_registered_algorithm_counts_oidc_registration_s2():
    client = make_client(request_object_signing_alg="ES256")
    assert "ES256" in accepted_algorithms(client, "ES256")
    for alg in ("RS256", "HS256", None, 7):
        with pytest.raises(InvalidRequestObject):
            accepted_algorithms(client, alg)
    with pytest.raises(InvalidRequestObject):
        accepted_algorithms(make_client(request_object_signing_alg="none"), "RS256")


@pytest.mark.parametrize("registered", [None, "RS256"])
def test_an_unsigned_object_is_not_supported_unless_registered_oidc_core_s6_1(registered: str | None):
    with pytest.raises(RequestNotSupported):
        accepted_algorithms(make_client(request_object_signing_alg=registered), "none")


def test_an_unsigned_object_counts_where_the_client_registered_none_oidc_core_s6_1():
    assert accepted_algorithms(make_client(request_object_signing_alg="none"), "none") == ("none",)
    strict = make_client(request_object_signing_alg="none", require_signed_request_object=True)
    with pytest.raises(RequestNotSupported):
        accepted_algorithms(strict, "none")


def test_at_a_registered_https_address_it_may_be_unsigned_where_nothing_was_registered_oidc_registration_s2():
    at = "https://portal.example.org/request.jwt"
    assert accepted_algorithms(make_client(), "none", request_uri=at) == ("none",)
    for client in (make_client(request_object_signing_alg="RS256"), STRICT):
        with pytest.raises(RequestNotSupported):
            accepted_algorithms(client, "none", request_uri=at)
    with pytest.raises(RequestNotSupported):
        accepted_algorithms(make_client(), "none", request_uri="http://localhost:9000/request.jwt")


# ── What counts ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_stands_in_the_object_wins_oidc_core_s6_1():
    params = merged({"state": "inner", "nonce": "inner", "redirect_uri": REDIRECT_URI}, redirect_uri="https://evil/")
    assert (params.get("state"), params.get("nonce"), params.get("redirect_uri")) == ("inner", "inner", REDIRECT_URI)


def test_what_the_object_lacks_is_taken_from_beside_it_oidc_core_s6_1():
    params = merged({"prompt": "login"})
    assert (params.get("prompt"), params.get("scope"), params.get("state")) == ("login", "openid profile", "a-state")


def test_state_and_nonce_may_live_only_inside_oidc_core_s6_1():
    params = merged({"state": "s", "nonce": "n"}, state=None, nonce=None)
    assert (params.get("state"), params.get("nonce")) == ("s", "n")


def test_of_who_promised_to_sign_nothing_beside_the_object_counts_rfc9101_s6_3():
    params = merged({"response_type": "code", "scope": "openid"}, client=STRICT)
    assert params.values == {"client_id": CLIENT_ID, "response_type": "code", "scope": "openid"}


def test_a_parameter_that_came_twice_beside_the_object_stays_refused_unless_the_object_settles_it_rfc6749_s3_1():
    outer = parse_parameters([("state", "a"), ("state", "b"), ("nonce", "a"), ("nonce", "b")])
    params = merge(make_client(), outer, {"state": "inner"}, issuer=ISSUER, now=START)
    assert params.repeated == {"nonce"}


def test_numbers_and_objects_are_json_s_own_rfc9101_s4():
    params = merged(
        {
            "max_age": 3600,
            "claims": {"userinfo": {"email": None}},
            "resource": ["https://a.example", "https://b.example"],
            "include_granted_scopes": True,
            "login_hint": None,
            "display": "",
        }
    )
    assert params.get("max_age") == "3600"
    assert params.get("claims") == '{"userinfo": {"email": null}}'
    assert params.get("resource") == "https://a.example https://b.example"
    assert params.get("include_granted_scopes") == "true"
    assert (params.get("login_hint"), params.get("display")) == (None, None)
    assert merged({"include_granted_scopes": False}).get("include_granted_scopes") == "false"


@pytest.mark.parametrize("value", [1.5, ["a"], [1], "a\x00b"])
def test_a_parameter_of_another_type_is_refused_rfc9101_s4(value: Any):
    assert "wrong type" in refused({"state": value})
    if value != ["a"]:
        assert "wrong type" in refused({"resource": value})


def test_the_jwts_own_claims_are_no_parameters_rfc9101_s4():
    claims = {"iss": CLIENT_ID, "aud": ISSUER, "exp": NOW + 60, "nbf": NOW, "iat": NOW, "jti": "j", "sub": "x"}
    assert merged(claims).values == make_authorization_params().values


# ── By whom, for whom, when ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("audience", [ISSUER, [ISSUER], ["https://else.example", ISSUER]])
def test_the_object_is_for_this_issuer_rfc9101_s4(audience: Any):
    assert merged({"aud": audience})


@pytest.mark.parametrize("audience", ["https://else.example", ["https://else.example"], [], None, f"{ISSUER}/", 7, {}])
def test_an_object_for_somebody_else_is_refused_rfc9101_s4(audience: Any):
    assert "aud" in refused({"aud": audience})


@pytest.mark.parametrize("issuer", ["other", None, ISSUER, [CLIENT_ID]])
def test_an_object_of_another_client_is_refused_rfc9101_s4(issuer: Any):
    assert "iss" in refused({"iss": issuer})


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 3600}, "expired"),
        ({"nbf": NOW + 11}, "not valid yet"),
        ({"exp": "soon"}, "no number"),
        ({"exp": True}, "no number"),
        ({"nbf": None}, "no number"),
        ({"iat": [1]}, "no number"),
    ],
)
def test_an_object_out_of_its_time_is_refused_rfc7519_s4_1(claims: dict[str, Any], expected: str):
    assert expected in refused(claims)


def test_a_clock_may_be_a_little_fast_rfc7519_s4_1_5():
    claims = {"nbf": NOW + 10, "exp": NOW + 0.5}
    assert merged(claims)
    with pytest.raises(InvalidRequestObject):
        merge(make_client(), Parameters({}), claims, issuer=ISSUER, now=START + timedelta(seconds=1))


def test_client_and_response_type_must_not_differ_from_those_beside_the_object_oidc_core_s6_1():
    assert "client_id" in refused({"client_id": "other"})
    assert "response_type" in refused({"response_type": "code id_token"})
    assert merged({"response_type": "code", "client_id": CLIENT_ID})
    assert merged({"response_type": "id_token code"}, response_type="code id_token")
    assert merged({"response_type": "code"}, response_type=None).get("response_type") == "code"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "oauth-authz-req+jwt", "application/oauth-authz-req+JWT"])
def test_a_type_says_that_it_is_a_request_object_or_nothing_rfc9101_s10_8(typ: str):
    check_type({"typ": typ})
    check_type({})


@pytest.mark.parametrize("typ", ["at+jwt", "logout+jwt", "client-authentication+jwt", "", None, 7, ["JWT"], {}])
def test_another_kind_of_jwt_is_no_request_object_rfc9101_s10_8(typ: Any):
    with pytest.raises(InvalidRequestObject):
        check_type({"typ": typ})


def test_a_client_assertion_is_no_request_object_rfc9101_s10_8():
    assert "sub" in refused({"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": ISSUER})
    assert merged({"sub": "u_alice"})


def test_an_object_nested_absurdly_deep_is_refused_and_no_crash():
    claims: dict[str, Any] = {}
    for _ in range(100_000):
        claims = {"a": claims}
    assert "deep" in refused({"claims": claims})


@pytest.mark.parametrize("name", ["request", "request_uri"])
def test_an_object_holds_no_other_object_rfc9101_s4(name: str):
    assert "another one" in refused({name: "x"})
