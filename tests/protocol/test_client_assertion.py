"""What a client assertion must say: RFC 7521 §4.2, RFC 7523 §3, OpenID Connect Core §9."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.crypto.jose import MAC_ALGORITHMS
from idp.domain.client import ClientAuthMethod
from idp.protocol.client_assertion import (
    ASSERTION_ALGORITHMS,
    ASSERTION_TYPE,
    check_assertion_header,
    check_client_assertion,
    read_client_assertion,
    read_client_id,
)
from idp.protocol.errors import InvalidClient, InvalidRequest, OAuthError
from idp.protocol.parameters import Parameters
from tests.support.assertion import ISSUER, claims_of
from tests.support.clock import START
from tests.support.factories import make_client
from tests.support.strategies import documents

TOKEN_ENDPOINT = f"{ISSUER}/token"
AUDIENCES = (ISSUER, TOKEN_ENDPOINT)
NOW = START.timestamp()
HOUR = 3600
ASSERTION = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": "a.b.c"}


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def read(authorization: str | None = None, **body: str) -> str | None:
    return read_client_assertion(authorization, Parameters(body))


def test_an_assertion_comes_with_its_type_rfc7523_s2_2():
    assert read(**ASSERTION) == "a.b.c"
    assert read(**ASSERTION, client_id="portal") == "a.b.c"


@pytest.mark.parametrize("body", [{}, {"client_id": "portal"}, {"client_id": "portal", "client_secret": "s"}])
def test_a_request_without_one_authenticates_otherwise(body: dict[str, str]):
    assert read(**body) is None
    assert read("Basic abc", **body) is None


@pytest.mark.parametrize("name", list(ASSERTION))
@pytest.mark.parametrize("other", [{}, {"client_secret": "s"}])
def test_half_of_it_is_an_invalid_request_rfc7521_s4_2(name: str, other: dict[str, str]):
    with pytest.raises(InvalidRequest) as refused:
        read(**{name: ASSERTION[name]}, **other)
    assert "one is missing" in refused.value.description


@pytest.mark.parametrize(
    "assertion_type",
    ["jwt-bearer", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", ASSERTION_TYPE.upper(), "x" * 9000],
)
def test_an_assertion_of_another_type_fails_authentication_rfc6749_s5_2(assertion_type: str):
    with pytest.raises(InvalidClient) as refused:
        read(client_assertion="a.b.c", client_assertion_type=assertion_type)
    assert "jwt-bearer" in refused.value.description


@pytest.mark.parametrize(
    ("authorization", "body"),
    [("Basic cG9ydGFsOnM=", {}), ("Bearer x", {}), ("", {}), (None, {"client_secret": "s"})],
)
def test_two_credentials_are_an_invalid_request_rfc6749_s2_3(authorization: str | None, body: dict[str, str]):
    with pytest.raises(InvalidRequest) as refused:
        read(authorization, **ASSERTION, **body)
    assert "twice" in refused.value.description


def test_an_assertion_names_its_client_rfc7523_s3():
    assert read_client_id({"sub": "portal"}, Parameters({})) == "portal"
    assert read_client_id({"sub": "portal"}, Parameters({"client_id": "portal"})) == "portal"


@pytest.mark.parametrize("claims", [{}, {"iss": "portal"}, {"sub": None}, {"sub": ["portal"]}, {"sub": 1}, {"sub": {}}])
def test_an_assertion_about_nobody_fails_rfc7523_s3(claims: dict[str, Any]):
    with pytest.raises(InvalidClient):
        read_client_id(claims, Parameters({}))


def test_another_client_in_the_body_is_an_invalid_request_rfc7521_s4_2():
    with pytest.raises(InvalidRequest):
        read_client_id({"sub": "portal"}, Parameters({"client_id": "other"}))


# ── The header ──────────────────────────────────────────────────────────────────────────────────────────────────────
METHODS = [
    (ClientAuthMethod.PRIVATE_KEY_JWT, ("RS256", "PS256", "ES256", "EdDSA")),
    (ClientAuthMethod.CLIENT_SECRET_JWT, ("HS256", "HS384", "HS512")),
]


@pytest.mark.parametrize(("method", "algorithms"), METHODS)
def test_without_a_registered_algorithm_each_of_the_method_is_accepted(
    method: ClientAuthMethod, algorithms: tuple[str, ...]
):
    client = make_client(token_endpoint_auth_method=method)
    for alg in algorithms:
        assert set(check_assertion_header(client, {"alg": alg})) == set(algorithms)


@pytest.mark.parametrize(("method", "algorithms"), METHODS)
def test_a_registered_algorithm_is_the_only_one_rfc7591_s2(method: ClientAuthMethod, algorithms: tuple[str, ...]):
    first, *others = algorithms
    client = make_client(token_endpoint_auth_method=method, token_endpoint_auth_signing_alg=first)
    assert check_assertion_header(client, {"alg": first}) == (first,)
    for alg in others:
        with pytest.raises(InvalidClient):
            check_assertion_header(client, {"alg": alg})


@pytest.mark.parametrize("method", list(ClientAuthMethod))
@pytest.mark.parametrize("registered", [None, "none", "RS256", "HS256", "ES512", ""])
@pytest.mark.parametrize("alg", ["none", "None", "", "RS1", "RS384", "ES256K", "hs256", None, [], {}, 0, ["RS256"]])
def test_no_other_algorithm_is_ever_accepted_rfc8725_s3_1(method: ClientAuthMethod, registered: str | None, alg: Any):
    client = make_client(token_endpoint_auth_method=method, token_endpoint_auth_signing_alg=registered)
    for header in ({"alg": alg}, {}):
        with pytest.raises(InvalidClient):
            check_assertion_header(client, header)


@pytest.mark.parametrize(
    ("method", "alg"),
    [
        *((ClientAuthMethod.PRIVATE_KEY_JWT, alg) for alg in MAC_ALGORITHMS),
        *((ClientAuthMethod.CLIENT_SECRET_JWT, alg) for alg in ("RS256", "ES256", "PS256", "EdDSA")),
        *((method, "RS256") for method in ClientAuthMethod if "jwt" not in method),
        *((method, "HS256") for method in ClientAuthMethod if "jwt" not in method),
    ],
)
def test_the_algorithms_of_another_method_are_no_way_in_rfc8725_s2_1(method: ClientAuthMethod, alg: str):
    for registered in (None, alg):
        client = make_client(token_endpoint_auth_method=method, token_endpoint_auth_signing_alg=registered)
        with pytest.raises(InvalidClient) as refused:
            check_assertion_header(client, {"alg": alg})
        # How a client is registered is nothing that strangers are told.
        assert refused.value.description == InvalidClient.default_description
        assert str(method) in refused.value.detail


def test_the_macs_are_those_that_can_be_checked():
    assert ASSERTION_ALGORITHMS[ClientAuthMethod.CLIENT_SECRET_JWT] == MAC_ALGORITHMS


CLIENT = make_client(token_endpoint_auth_method=ClientAuthMethod.PRIVATE_KEY_JWT)


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "application/jwt", "client-authentication+jwt", "application/Client-Authentication+JWT"]
)
def test_the_type_of_the_token_may_be_told_rfc8725_s3_11(typ: str):
    assert check_assertion_header(CLIENT, {"alg": "ES256", "typ": typ})


@pytest.mark.parametrize(
    "typ", ["", "at+jwt", "logout+jwt", "oauth-authz-req+jwt", "dpop+jwt", "JOSE", None, 1, ["JWT"], {}]
)
def test_a_token_of_another_type_is_no_assertion_rfc8725_s3_11(typ: Any):
    with pytest.raises(InvalidClient):
        check_assertion_header(CLIENT, {"alg": "ES256", "typ": typ})


# ── The claims ──────────────────────────────────────────────────────────────────────────────────────────────────────
def check(now: datetime = START, /, **changes: Any) -> tuple[str, datetime]:
    return check_client_assertion(claims_of("portal", **changes), "portal", AUDIENCES, now)


def refusal(**changes: Any) -> str:
    with pytest.raises(InvalidClient) as refused:
        check(**changes)
    return refused.value.description


def test_a_good_assertion_tells_its_jti_and_its_end():
    assert check(jti="once", exp=NOW + 60) == ("once", START + timedelta(seconds=60))
    assert check(jti="once", exp=NOW + 0.5) == ("once", START + timedelta(seconds=0.5))


@pytest.mark.parametrize("name", ["iss", "sub"])
@pytest.mark.parametrize("value", [None, "", "other", "PORTAL", "portal ", ["portal"], 1, {"portal": 1}])
def test_issuer_and_subject_are_the_client_rfc7523_s3(name: str, value: Any):
    assert "iss and sub" in refusal(**{name: value})


@pytest.mark.parametrize(
    "aud",
    [
        ISSUER,
        TOKEN_ENDPOINT,
        [ISSUER],
        [TOKEN_ENDPOINT],
        [ISSUER, TOKEN_ENDPOINT],
        ["https://other.example", ISSUER],
    ],
)
def test_the_audience_is_the_issuer_or_an_endpoint_alone_or_among_others_rfc7523_s3(aud: Any):
    check(aud=aud)


@pytest.mark.parametrize(
    "aud",
    [
        None,
        "",
        "https://other.example",
        "https://other.example/token",
        f"{ISSUER}/",
        f"{ISSUER}/authorize",
        f"{ISSUER}/token/",
        f"{ISSUER} https://other.example",
        ISSUER.upper(),
        f"{ISSUER}.evil.example",
        f"{ISSUER}@evil.example",
        [],
        ["https://other.example"],
        [[ISSUER]],
        [ISSUER, 1],
        [None],
        {ISSUER: True},
        1,
        True,
    ],
)
def test_an_assertion_for_somebody_else_fails_rfc7523_s3(aud: Any):
    assert "not for this server" in refusal(aud=aud)


def test_exp_is_required_rfc7523_s3():
    assert "needs an exp" in refusal(exp=None)


@pytest.mark.parametrize("exp", [NOW, NOW - 1, NOW - 10 * HOUR, 0, -1, -1e300, -(10**400)])
def test_an_expired_assertion_fails_rfc7523_s3(exp: float):
    assert "expired" in refusal(exp=exp)


def test_it_counts_up_to_its_last_moment_and_no_longer_rfc7519_s4_1_4():
    claims = claims_of("portal", exp=int(NOW) + 60)
    check_client_assertion(claims, "portal", AUDIENCES, START + timedelta(seconds=59, milliseconds=999))
    with pytest.raises(InvalidClient):
        check_client_assertion(claims, "portal", AUDIENCES, START + timedelta(seconds=60))


@pytest.mark.parametrize("exp", [NOW + HOUR + 11, NOW + 86400, 2**63, 1e300, 10**400])
def test_an_assertion_that_lives_long_fails(exp: float):
    assert "lives too long" in refusal(exp=exp)


def test_an_hour_is_the_longest_and_the_client_may_be_some_seconds_ahead():
    check(exp=NOW + HOUR)
    check(iat=NOW + 10, exp=NOW + 10 + HOUR)


def test_one_that_was_made_more_than_an_hour_ago_fails_rfc7523_s3():
    check(iat=NOW - HOUR)
    assert "lives too long" in refusal(iat=NOW - HOUR - 1)


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_one_from_the_future_fails_but_for_ten_seconds_rfc7523_s3(name: str):
    check(**{name: NOW + 10})
    for value in (NOW + 11, 1e300, 10**400):
        assert "from the future" in refusal(**{name: value})


def test_iat_and_nbf_may_be_missing_or_past_rfc7523_s3():
    check(iat=None)
    check(nbf=NOW - 1)
    check(nbf=0)


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", ["1767614460", True, [], {}, "soon"])
def test_a_time_is_a_number_rfc7519_s2(name: str, value: Any):
    assert "no number" in refusal(**{name: value})


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_a_time_is_never_null_rfc7519_s2(name: str):
    with pytest.raises(InvalidClient):
        check_client_assertion({**claims_of("portal"), name: None}, "portal", AUDIENCES, START)


@pytest.mark.parametrize("jti", [None, "", "x" * 201, 1, ["a"], {}, True])
def test_jti_is_required_and_short_stricter_than_rfc7523_s3(jti: Any):
    assert "needs a jti" in refusal(jti=jti)


@pytest.mark.parametrize("jti", ["x", "x" * 200, "ü\n\x00"])
def test_any_short_text_is_a_jti(jti: str):
    assert check(jti=jti)[0] == jti


@given(
    documents
    | st.fixed_dictionaries(
        {},
        optional={
            "iss": st.just("portal"),
            "sub": st.just("portal"),
            "aud": st.just(ISSUER) | documents,
            "exp": st.just(NOW + 60) | documents,
            "nbf": documents,
            "iat": documents,
            "jti": st.text() | documents,
        },
    )
)
def test_any_claims_are_judged_never_a_500(claims: dict[str, Any]):
    try:
        jti, expires_at = check_client_assertion(claims, "portal", AUDIENCES, START)
    except OAuthError:
        return
    assert jti == claims["jti"]
    assert START < expires_at <= datetime.fromtimestamp(NOW + HOUR + 10, UTC)
