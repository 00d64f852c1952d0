"""Any OpenID provider, against one whose every answer can be bent (OpenID Connect Core §3.1, RFC 9700 §4.4)."""

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import httpx2
import pytest
from starlette.responses import Response

from idp.crypto.jose import Signer, generate_key, left_half_hash
from idp.domain.clock import system_clock
from idp.domain.provider import ProviderKind
from idp.domain.signing_key import SigningAlgorithm
from idp.outbound.addresses import AllowRule
from idp.outbound.client import Outbound
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.upstream import conversation
from idp.upstream.circuit import FAILURES, PAUSE
from idp.upstream.connector import Connector
from tests.support.bent import ABSENT, Answer, body, failing, html, pkce_challenge, slow
from tests.support.clock import FakeClock
from tests.support.evil_provider import EvilProvider, Key, evil, evil_server
from tests.upstream.conftest import said
from tests.upstream.connecting import (
    CALLBACK,
    LEFT,
    Side,
    hasty,
    is_refused,
    named,
    query,
    side,
)

__all__ = ["evil", "evil_server", "hasty", "side"]

OIDC = ProviderKind.OIDC
HOUR = 3600


def headed(status: int, **headers: str) -> Answer:
    """Answer with header fields, whose names are written with underscores."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request, _usual: Response("{}", status, fields, "application/json")


@pytest.fixture
def connector(side: Side, evil: EvilProvider) -> Connector:
    return side.connect(evil, OIDC)


# ── Going there ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_browser_takes_along_pkce_state_and_nonce_core_s3_1_2_1(
    connector: Connector, evil: EvilProvider
) -> None:
    url = await connector.authorization_url(LEFT)
    assert url.startswith(f"{evil.issuer}/authorize?")
    assert query(url) == {
        "response_type": "code",
        "client_id": "lab-id",
        "redirect_uri": CALLBACK,
        "scope": "openid profile email",
        "state": LEFT.state,
        "nonce": LEFT.nonce,
        "code_challenge": pkce_challenge(LEFT.code_verifier),
        "code_challenge_method": "S256",
    }
    assert LEFT.code_verifier not in url


async def test_what_is_demanded_of_the_sign_in_is_demanded_there_core_s3_1_2_1(connector: Connector) -> None:
    departure = replace(
        LEFT, prompt=("login", "consent"), max_age=0, acr_values=("gold", "silver"), login_hint="jane@lab.example"
    )
    asked = query(await connector.authorization_url(departure))
    wanted = {
        "prompt": "login consent",
        "max_age": "0",
        "acr_values": "gold silver",
        "login_hint": "jane@lab.example",
    }
    assert wanted.items() <= asked.items()
    assert "claims" not in asked


@pytest.mark.parametrize(
    ("changes", "asked"), [({"max_age": 300}, True), ({"prompt": ("login",)}, True), ({"prompt": ("consent",)}, False)]
)
async def test_auth_time_is_asked_for_where_it_matters_and_can_be_core_s5_5(
    connector: Connector, evil: EvilProvider, changes: dict[str, Any], asked: bool
) -> None:
    evil.metadata["claims_parameter_supported"] = True
    claims = query(await connector.authorization_url(replace(LEFT, **changes))).get("claims")
    assert claims == ('{"id_token":{"auth_time":{"essential":true}}}' if asked else None)


async def test_the_endpoints_own_query_stays_and_is_never_overridden_rfc6749_s3_1(
    connector: Connector, evil: EvilProvider
) -> None:
    evil.metadata["authorization_endpoint"] = f"{evil.issuer}/authorize?tenant=a%26b&prompt=&scope=openid"
    asked = query(await connector.authorization_url(replace(LEFT, prompt=("login",))))
    assert (asked["tenant"], asked["prompt"], asked["scope"]) == ("a&b", "", "openid")
    assert asked["state"] == LEFT.state


@pytest.mark.parametrize(
    ("listed", "prompt", "scope", "asked"),
    [
        (["openid", "offline_access"], (), "openid profile email drive offline_access", "consent"),
        (["openid"], (), "openid profile email drive", "consent"),
        (["openid"], ("login",), "openid profile email drive", "login consent"),
        (["openid"], ("none",), "openid profile email drive", "none"),
        (ABSENT, ("consent",), "openid profile email drive", "consent"),
    ],
)
async def test_access_for_applications_is_asked_for_with_consent_core_s11(
    side: Side, evil: EvilProvider, listed: Any, prompt: tuple[str, ...], scope: str, asked: str
) -> None:
    evil.metadata["scopes_supported"] = listed
    connector = side.connect(evil, OIDC, api_scope="drive")
    got = query(await connector.authorization_url(replace(LEFT, prompt=prompt, api=True)))
    assert (got["scope"], got["prompt"]) == (scope, asked)


async def test_openid_is_always_in_the_scope_core_s3_1_2_1(side: Side, evil: EvilProvider) -> None:
    connector = side.connect(evil, OIDC, scope="email groups email")
    assert query(await connector.authorization_url(LEFT))["scope"] == "openid email groups"


# ── Its metadata ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"issuer": lambda issuer: f"{issuer}/"}, "another issuer"),
        ({"issuer": ABSENT}, "another issuer"),
        ({"authorization_endpoint": ABSENT}, "authorization_endpoint in the metadata is missing"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "does not begin with https://"),
        ({"authorization_endpoint": "data:text/html,a"}, "does not begin with https://"),
        ({"authorization_endpoint": "https://a.example/#x"}, "a fragment"),
        ({"authorization_endpoint": "https://a@b.example/"}, "a user"),
        ({"authorization_endpoint": "https:///authorize"}, "no host"),
        ({"token_endpoint": "https://[::1/"}, "no address"),
        ({"token_endpoint": "https://a.example:99999/"}, "no address"),
        ({"token_endpoint": "https://a.example:0/"}, "no host"),
        ({"token_endpoint": "https://a.example/ b"}, "no address"),
        ({"token_endpoint": ["https://a.example/"]}, "no address"),
        ({"jwks_uri": "file:///etc/passwd"}, "does not begin with https://"),
        ({"userinfo_endpoint": "ftp://a.example/"}, "does not begin with https://"),
        ({"end_session_endpoint": 1}, "end_session_endpoint"),
    ],
    ids=named,
)
async def test_metadata_that_are_not_to_be_believed_are_refused_discovery_s4_3(
    side: Side, connector: Connector, evil: EvilProvider, changes: dict[str, Any], detail: str
) -> None:
    evil.metadata |= changes
    assert is_refused(await side.refusal(connector), UpstreamFault.INVALID, detail)


def test_plain_http_is_for_issuers_that_are_plain_http_themselves() -> None:
    from idp.upstream.metadata import endpoint_fault

    assert endpoint_fault("http://a.example/token", "https://a.example") == "does not begin with https://"
    assert endpoint_fault("http://a.example/token", "http://a.example") is None
    assert endpoint_fault("https://a.example/token", "https://a.example") is None


@pytest.mark.parametrize("answer", [html(), failing(500), failing(404), body("[]"), body("x" * 300_000), body('{"a":')])
async def test_a_provider_whose_metadata_cannot_be_read_is_down(
    side: Side, connector: Connector, evil: EvilProvider, answer: Answer
) -> None:
    evil.bend["discovery"] = answer
    with pytest.raises(UpstreamRefused) as caught:
        await connector.authorization_url(LEFT)
    assert caught.value.fault is UpstreamFault.DOWN
    assert caught.value.provider == "campus"


async def test_metadata_and_keys_are_fetched_once(side: Side, connector: Connector, evil: EvilProvider) -> None:
    for _ in range(3):
        await side.identify(connector)
    assert (evil.count("discovery"), evil.count("jwks"), evil.count("token"), evil.count("userinfo")) == (1, 1, 3, 0)


# ── Coming back ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_whoever_comes_back_is_whom_the_provider_vouches_for_core_s3_1_3(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    evil.id_token["groups"] = ["bio"]
    identity = await side.identify(connector)
    assert identity.key == (evil.issuer, "248289761001")
    assert identity.proven_email == "jane@lab.example"
    assert {"name": "Jane Doe", "locale": "en-GB", "groups": ["bio"]}.items() <= identity.claims.items()
    assert identity.auth_time is None
    assert identity.id_token is not None
    assert (identity.refresh_token, identity.api_scope) == (None, "")
    asked = evil.last("token")
    assert asked.form.keys() == {"grant_type", "code", "redirect_uri", "code_verifier"}
    assert (asked.form["redirect_uri"], asked.form["code_verifier"]) == (CALLBACK, LEFT.code_verifier)


async def test_no_secret_is_in_what_is_printed_of_an_identity(side: Side, evil: EvilProvider) -> None:
    connector = side.connect(evil, OIDC, api_scope="openid")
    identity = await side.identify(connector, replace(LEFT, api=True))
    assert identity.id_token
    assert identity.refresh_token
    assert identity.id_token not in repr(identity)
    assert identity.refresh_token not in repr(identity)


async def test_when_somebody_signed_in_there_is_told_on_core_s2(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    evil.auth_time = datetime(2020, 1, 2, tzinfo=UTC)
    evil.id_token |= {"acr": "gold", "amr": ["pwd", "otp"]}
    identity = await side.identify(connector, replace(LEFT, max_age=10**9))
    assert (identity.auth_time, identity.acr, identity.amr) == (evil.auth_time, "gold", ("pwd", "otp"))


@pytest.mark.parametrize(
    ("answer", "fault", "detail"),
    [
        ({"error": "access_denied"}, UpstreamFault.DENIED, "access_denied"),
        ({"error": "access_denied", "error_description": "secret"}, UpstreamFault.DENIED, "access_denied"),
        ({"error": "login_required"}, UpstreamFault.REFUSED, "login_required"),
        ({"error": "server_error"}, UpstreamFault.TROUBLE, "server_error"),
        ({"error": "e" * 61}, UpstreamFault.REFUSED, "without a name"),
        ({"error": "a\x1b[31m"}, UpstreamFault.REFUSED, "without a name"),
        ({"error": "ä"}, UpstreamFault.REFUSED, "without a name"),
        ({"error": ""}, UpstreamFault.REFUSED, "without a name"),
        # Who asked is known, and nobody else may answer: not even with an error (RFC 9207 §2.4).
        ({"iss": "https://evil.example"}, UpstreamFault.INVALID, "another provider (iss)"),
        ({"iss": "https://evil.example", "error": "access_denied"}, UpstreamFault.INVALID, "another provider (iss)"),
        ({"iss": ""}, UpstreamFault.INVALID, "another provider (iss)"),
        ({"iss": None}, UpstreamFault.INVALID, "does not say from which provider"),
        ({"code": None}, UpstreamFault.INVALID, "no code"),
        ({"code": ""}, UpstreamFault.INVALID, "no code"),
        ({"code": "c" * 4097}, UpstreamFault.INVALID, "no code"),
        ({"code": "a\nb"}, UpstreamFault.INVALID, "no code"),
        ({"code": "a\x00"}, UpstreamFault.INVALID, "no code"),
    ],
    ids=named,
)
async def test_an_answer_without_a_code_is_refused_before_anything_is_asked_rfc6749_s4_1_2_1(
    side: Side,
    connector: Connector,
    evil: EvilProvider,
    answer: dict[str, str | None],
    fault: UpstreamFault,
    detail: str,
) -> None:
    assert is_refused(await side.refusal(connector, **answer), fault, detail)
    assert evil.count("token") == 0


async def test_a_provider_that_does_not_promise_its_name_may_leave_it_out_rfc9207_s2_4(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    evil.metadata["authorization_response_iss_parameter_supported"] = ABSENT
    assert (await side.identify(connector, iss=None)).sub == "248289761001"
    assert (await side.refusal(connector, iss="https://evil.example")).fault is UpstreamFault.INVALID


async def test_a_code_of_somebody_else_is_of_no_use_rfc9700_s4_5(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    stolen = await side.browser.answer(await connector.authorization_url(replace(LEFT, code_verifier="w" * 43)))
    assert is_refused(await side.refusal(connector, code=stolen["code"]), UpstreamFault.REFUSED, "invalid_grant")


async def test_a_code_works_once(side: Side, connector: Connector, evil: EvilProvider) -> None:
    answer = await side.browser.answer(await connector.authorization_url(LEFT))
    await side.take(connector, answer)
    with pytest.raises(UpstreamRefused) as caught:
        await side.take(connector, answer)
    assert is_refused(caught.value, UpstreamFault.REFUSED, "invalid_grant")


@pytest.mark.parametrize("code", ["a b&c=%zz+~*/?#", "%", "~" * 4096, "<script>", "=", "&code=x"])
async def test_a_code_arrives_there_as_it_was_given_rfc6749_s4_1_3(
    side: Side, connector: Connector, evil: EvilProvider, code: str
) -> None:
    assert is_refused(await side.refusal(connector, code=code), UpstreamFault.REFUSED, "invalid_grant")
    assert evil.last("token").form["code"] == code


@pytest.mark.parametrize(
    "url", ["https://a..b.example/", "https://xn--zz.example/", "https://[::1%25lo]/", "https://1.2.3/"]
)
async def test_an_address_that_no_library_can_read_is_no_crash(
    side: Side, connector: Connector, evil: EvilProvider, url: str
) -> None:
    evil.metadata["token_endpoint"] = url
    assert (await side.refusal(connector)).fault in {UpstreamFault.DOWN, UpstreamFault.INVALID}


# ── Who we are there ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("listed", "configured", "used"),
    [
        (["client_secret_post", "client_secret_basic"], None, "basic"),
        (["client_secret_post", "private_key_jwt"], None, "post"),
        (ABSENT, None, "basic"),
        ("client_secret_post", None, "basic"),
        (["client_secret_basic"], "client_secret_post", "post"),
        (["client_secret_post"], "client_secret_basic", "basic"),
    ],
)
async def test_the_client_authenticates_as_it_is_set_up_or_as_the_provider_lists_core_s9(
    side: Side, evil: EvilProvider, listed: Any, configured: str | None, used: str
) -> None:
    evil.metadata["token_endpoint_auth_methods_supported"] = listed
    await side.identify(side.connect(evil, OIDC, token_endpoint_auth_method=configured))
    asked = evil.last("token")
    assert ("authorization" in asked.headers) == (used == "basic")
    assert ("client_secret" in asked.form) == (used == "post")


@pytest.mark.parametrize(
    ("listed", "configured"), [(["private_key_jwt"], None), ([], None), (ABSENT, "private_key_jwt"), (ABSENT, "none")]
)
async def test_an_authentication_that_we_cannot_do_is_refused_with_a_reason(
    side: Side, evil: EvilProvider, listed: Any, configured: str | None
) -> None:
    evil.metadata["token_endpoint_auth_methods_supported"] = listed
    refused = await side.refusal(side.connect(evil, OIDC, token_endpoint_auth_method=configured))
    expected = "refused" if configured == "none" else "neither client_secret_basic nor"
    assert is_refused(refused, UpstreamFault.REFUSED, expected)


async def test_a_client_without_a_secret_sends_none_rfc6749_s3_2_1(side: Side, evil: EvilProvider) -> None:
    assert (await side.refusal(side.connect(evil, OIDC, secret=None))).fault is UpstreamFault.REFUSED
    asked = evil.last("token")
    assert "authorization" not in asked.headers
    assert asked.form["client_id"] == "lab-id"
    assert "client_secret" not in asked.form


async def test_name_and_secret_are_encoded_for_basic_rfc6749_s2_3_1(
    side: Side, evil: EvilProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evil, "client_id", "lab id:1")
    monkeypatch.setattr(evil, "client_secret", "ä+b %:/=&")
    assert (await side.identify(side.connect(evil, OIDC))).sub == "248289761001"


# ── The token endpoint ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("answer", "fault", "detail"),
    [
        (body('{"error":"invalid_client"}', status=401), UpstreamFault.REFUSED, "invalid_client"),
        (body('{"error":"invalid_grant"}', status=400), UpstreamFault.REFUSED, "invalid_grant"),
        (body('{"error":"bad_verification_code"}'), UpstreamFault.REFUSED, "bad_verification_code"),
        (body('{"error":{"code":1}}', status=400), UpstreamFault.REFUSED, "without a name"),
        (body('{"error":"\\u001b[2J"}', status=400), UpstreamFault.REFUSED, "without a name"),
        (body('{"message":"no"}', status=401), UpstreamFault.REFUSED, "status 401"),
        (html(403), UpstreamFault.REFUSED, "status 403"),
        (failing(429), UpstreamFault.REFUSED, "status 429"),
        (html(), UpstreamFault.DOWN, "no JSON"),
        (body("[]"), UpstreamFault.DOWN, "no JSON"),
        (body("[" * 100_000), UpstreamFault.DOWN, "no JSON"),
        (body('{"access_token":NaN}'), UpstreamFault.DOWN, "no JSON"),
        (body('{"access_token":"\\ud800"}'), UpstreamFault.DOWN, "no JSON"),
        (body(b"\xff"), UpstreamFault.DOWN, "no JSON"),
        (body(b""), UpstreamFault.DOWN, "no JSON"),
        (body("x" * 300_000), UpstreamFault.INVALID, "more than"),
        (body("x" * 300_000, status=400), UpstreamFault.INVALID, "more than"),
        (body("x" * 300_000, status=503), UpstreamFault.DOWN, "more than"),
        (headed(302, location="/"), UpstreamFault.INVALID, "not followed"),
        (headed(200, content_encoding="gzip"), UpstreamFault.INVALID, "content coding"),
        (headed(502, content_encoding="gzip"), UpstreamFault.DOWN, "content coding"),
        (html(500), UpstreamFault.DOWN, "status 500"),
        (body('{"error":"server_error"}', status=503), UpstreamFault.DOWN, "status 503"),
    ],
)
async def test_another_answer_than_a_token_signs_nobody_in_rfc6749_s5_2(
    side: Side, connector: Connector, evil: EvilProvider, answer: Answer, fault: UpstreamFault, detail: str
) -> None:
    evil.bend["token"] = answer
    assert is_refused(await side.refusal(connector), fault, detail)
    assert evil.count("token") == 1


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"id_token": ABSENT}, "no ID token"),
        ({"id_token": ""}, "no ID token"),
        ({"id_token": 1}, "id_token that is none"),
        ({"access_token": ABSENT}, "no access token"),
        ({"access_token": ""}, "no access token"),
        ({"access_token": ["a"]}, "no access token"),
        ({"access_token": "a\r\nX: y"}, "no access token"),
        ({"access_token": "ä"}, "no access token"),
        ({"token_type": ABSENT}, "token_type"),
        ({"token_type": "DPoP"}, "token_type"),
        ({"token_type": ["Bearer"]}, "token_type"),
        ({"refresh_token": {}}, "refresh_token that is none"),
        ({"scope": ["openid"]}, "scope that is none"),
        ({"expires_in": "soon"}, "time that is none"),
        ({"expires_in": []}, "time that is none"),
        ({"expires_in": True}, "time that is none"),
        ({"expires_in": -1}, "time that is none"),
        ({"expires_in": 1e300}, "time that is none"),
        ({"expires_at": {}}, "time that is none"),
    ],
    ids=named,
)
async def test_a_token_answer_of_other_types_is_not_believed_rfc6749_s5_1(
    side: Side, connector: Connector, evil: EvilProvider, changes: dict[str, Any], detail: str
) -> None:
    evil.token |= changes
    assert is_refused(await side.refusal(connector), UpstreamFault.INVALID, detail)


@pytest.mark.parametrize(
    "changes", [{"token_type": "bearer"}, {"expires_in": "3600"}, {"expires_in": ABSENT}, {"scope": ABSENT}]
)
async def test_usual_liberties_are_taken_rfc6749_s5_1(
    side: Side, connector: Connector, evil: EvilProvider, changes: dict[str, Any]
) -> None:
    evil.token |= changes
    assert (await side.identify(connector)).sub == "248289761001"


# ── The ID token ────────────────────────────────────────────────────────────────────────────────────────────────────
def _later(seconds: int) -> Callable[[Any], Any]:
    return lambda usual: usual + seconds


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": "accounts.google.com"},
        {"iss": ABSENT},
        {"aud": "another"},
        {"aud": "another", "azp": "lab-id"},
        {"aud": ["lab-id", "stranger"]},
        {"aud": ABSENT},
        {"azp": "another"},
        {"exp": _later(-2 * HOUR)},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": ABSENT},
        {"iat": _later(-HOUR)},
        {"iat": _later(HOUR)},
        {"nbf": 2**40},
        {"nonce": "m" * 43},
        {"nonce": ABSENT},
        {"at_hash": "MTIzNDU2Nzg5MDEyMzQ1Ng"},
        {"sub": ABSENT},
        {"sub": 248289761001},
        {"sub": "1" * 256},
        {"auth_time": 2**40},
        {"amr": "mfa"},
        {"filler": "x" * 1_000},
        {"filler": "x" * 16_384},
        {"filler": "\ud800"},
    ],
    ids=named,
)
async def test_an_id_token_that_is_not_for_us_now_signs_nobody_in_core_s3_1_3_7(
    side: Side, connector: Connector, evil: EvilProvider, changes: dict[str, Any]
) -> None:
    evil.id_token |= changes
    if changes == {"filler": "x" * 1_000}:
        # The limit is far away.
        assert (await side.identify(connector)).sub == "248289761001"
    else:
        assert (await side.refusal(connector)).fault is UpstreamFault.INVALID


async def test_a_megabyte_of_claims_is_not_even_read(side: Side, connector: Connector, evil: EvilProvider) -> None:
    evil.id_token["groups"] = ["x" * 1000] * 1000
    assert is_refused(await side.refusal(connector), UpstreamFault.INVALID, "more than 262144 bytes")


async def _unsigned(evil: EvilProvider) -> None:
    evil.alg = "none"


async def _with_the_secret(evil: EvilProvider) -> None:
    evil.alg = "HS256"


async def _with_the_public_key(evil: EvilProvider) -> None:
    evil.alg, evil.hmac_key = "HS256", evil.key.public_pem


async def _said_to_be_another(evil: EvilProvider) -> None:
    evil.header["alg"] = "none"


async def _said_to_be_stronger(evil: EvilProvider) -> None:
    evil.header["alg"] = "PS256"


async def _unlisted(evil: EvilProvider) -> None:
    evil.metadata["id_token_signing_alg_values_supported"] = ["ES256", "HS256", "none"]


async def _nothing_listed(evil: EvilProvider) -> None:
    evil.metadata["id_token_signing_alg_values_supported"] = ["HS256"]


@pytest.mark.parametrize(
    "bend",
    [
        _unsigned,
        _with_the_secret,
        _with_the_public_key,
        _said_to_be_another,
        _said_to_be_stronger,
        _unlisted,
        _nothing_listed,
    ],
)
@pytest.mark.parametrize("listed", [ABSENT, ["RS256", "HS256", "none"]])
async def test_only_asymmetric_signatures_that_the_provider_lists_count_rfc8725_s3_1(
    side: Side, connector: Connector, evil: EvilProvider, bend: Any, listed: Any
) -> None:
    evil.metadata["id_token_signing_alg_values_supported"] = listed
    await bend(evil)
    before = evil.count("jwks")
    assert is_refused(await side.refusal(connector), UpstreamFault.INVALID, "not signed with")
    # What can never be verified makes nobody fetch keys.
    assert evil.count("jwks") == before


@pytest.mark.parametrize("alg", [SigningAlgorithm.PS256, SigningAlgorithm.ES256, SigningAlgorithm.EDDSA])
async def test_the_other_asymmetric_algorithms_count_too_core_s15_1(
    side: Side, connector: Connector, evil: EvilProvider, alg: SigningAlgorithm
) -> None:
    private, public = generate_key(alg)
    signer = Signer(public["kid"], alg, private)
    name = "Ed25519" if alg is SigningAlgorithm.EDDSA else str(alg)
    evil.metadata["id_token_signing_alg_values_supported"] = [name]
    other = {"kty": "oct", "k": "AA", "kid": public["kid"]}
    evil.bend["jwks"] = body(json.dumps({"keys": [other, "none", evil.key.public_jwk, {**public, "alg": name}]}))
    evil.token["access_token"] = "a-known-one"
    at_hash = left_half_hash("a-known-one", alg)
    claims = {**evil.usual_claims(nonce=LEFT.nonce), **evil.user}
    evil.token["id_token"] = signer.sign({**claims, "at_hash": at_hash}, typ="JWT")
    assert (await side.identify(connector)).sub == "248289761001"
    evil.token["id_token"] = signer.sign({**claims, "at_hash": at_hash[::-1]}, typ="JWT")
    assert is_refused(await side.refusal(connector), UpstreamFault.INVALID, "at_hash")


async def test_a_signature_by_another_key_is_refused_after_one_look_for_newer_keys_core_s10_1_1(
    side: Side, connector: Connector, evil: EvilProvider, clock: FakeClock
) -> None:
    side.clock = clock
    evil.clock = clock
    await side.identify(connector)
    clock.advance(seconds=60)
    evil.key = Key.new()
    for _ in range(3):
        assert is_refused(await side.refusal(connector), UpstreamFault.INVALID, "not signed by any of the keys")
    assert evil.count("jwks") == 2
    evil.published = [evil.key]
    clock.advance(seconds=30)
    assert (await side.identify(connector)).sub == "248289761001"
    assert evil.count("jwks") == 3


async def test_a_rotated_key_is_found_at_once_by_its_unknown_kid_core_s10_1_1(
    side: Side, connector: Connector, evil: EvilProvider, clock: FakeClock
) -> None:
    side.clock = clock
    evil.clock = clock
    await side.identify(connector)
    clock.advance(seconds=1)
    evil.rotate()
    assert (await side.identify(connector)).sub == "248289761001"
    assert evil.count("jwks") == 2


async def test_a_kid_is_only_a_hint_rfc7515_s4_1_4(side: Side, connector: Connector, evil: EvilProvider) -> None:
    evil.header["kid"] = "unknown"
    assert (await side.identify(connector)).sub == "248289761001"
    evil.header["kid"] = ABSENT
    assert (await side.identify(connector)).sub == "248289761001"
    evil.header["kid"] = ["a"]
    assert (await side.refusal(connector)).fault is UpstreamFault.INVALID


@pytest.mark.parametrize(
    "keys", [{}, {"keys": {}}, {"keys": []}, {"keys": [1, {"kty": ["RSA"]}, {"kty": "RSA", "n": {}}]}]
)
async def test_a_key_set_without_keys_verifies_nothing_rfc7517_s5(
    side: Side, connector: Connector, evil: EvilProvider, keys: Any
) -> None:
    evil.bend["jwks"] = body(json.dumps(keys))
    assert (await side.refusal(connector)).fault is UpstreamFault.INVALID


@pytest.mark.parametrize("token", ["", "a.b.c", "x" * 9, "e30.e30.", "\ud800"])
async def test_what_is_no_token_is_refused(side: Side, connector: Connector, evil: EvilProvider, token: str) -> None:
    evil.token["id_token"] = token
    refused = await side.refusal(connector)
    assert refused.fault in {UpstreamFault.INVALID, UpstreamFault.DOWN}


# ── Userinfo ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_userinfo_is_asked_where_the_id_token_tells_too_little_core_s5_3(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    evil.claims_in_id_token = False
    identity = await side.identify(connector)
    assert (identity.proven_email, identity.claims["name"]) == ("jane@lab.example", "Jane Doe")
    assert evil.count("userinfo") == 1
    asked = evil.last("userinfo")
    assert asked.headers["authorization"].startswith("Bearer ")
    assert asked.headers["accept"] == "application/json"


@pytest.mark.parametrize("name", ["email", "email_verified", "picture"])
async def test_one_missing_claim_is_reason_enough(
    side: Side, connector: Connector, evil: EvilProvider, name: str
) -> None:
    evil.id_token[name] = ABSENT
    assert (await side.identify(connector)).claims[name] == evil.user[name]
    assert evil.count("userinfo") == 1


async def test_claims_that_nobody_wants_are_no_reason(side: Side, evil: EvilProvider) -> None:
    evil.id_token["picture"] = ABSENT
    await side.identify(side.connect(evil, OIDC, claims={"name": "name", "nickname": "given_name"}))
    assert evil.count("userinfo") == 0
    await side.identify(side.connect(evil, OIDC, claims={"nickname": "petname"}))
    assert evil.count("userinfo") == 1


async def test_a_provider_without_userinfo_is_believed_by_its_id_token_alone(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    evil.claims_in_id_token = False
    evil.metadata["userinfo_endpoint"] = ABSENT
    identity = await side.identify(connector)
    assert (identity.sub, identity.email) == ("248289761001", None)


# What a person's name, groups or picture may make of userinfo.
OF_ONE_PERSON = [
    (html(), "no JSON"),
    (body("[]"), "no object"),
    (body('{"sub":"248289761001","name":"\\ud800"}'), "no JSON"),
    (body('{"sub":"248289761001","name":NaN}'), "no JSON"),
    (body('{"sub":"248289761001","name":' + "[" * 100_000), "no JSON"),
    (body(b'{"sub":"248289761001","name":"\xff"}'), "no JSON"),
    (body(f'{{"sub":"248289761001","age":{"9" * 5000}}}'), "no JSON"),
    (body("x" * 300_000), "more than"),
    (headed(303, location="/"), "not followed"),
    (headed(200, content_encoding="gzip"), "content coding"),
]


@pytest.mark.parametrize(
    ("answer", "fault", "detail", "times"),
    [
        (body('{"sub":"another","email":"boss@lab.example"}'), UpstreamFault.INVALID, "somebody else", 1),
        (body("{}"), UpstreamFault.INVALID, "somebody else", 1),
        (body("a.b.c", "application/jwt"), UpstreamFault.INVALID, "userinfo_signed_response_alg", 1),
        (body('{"error":"invalid_token"}', status=401), UpstreamFault.REFUSED, "status 401", 1),
        *((answer, UpstreamFault.INVALID, detail, 1) for answer, detail in OF_ONE_PERSON),
        (html(503), UpstreamFault.DOWN, "status 503", 2),
        (body("x" * 300_000, status=503), UpstreamFault.DOWN, "more than", 2),
    ],
)
async def test_userinfo_that_is_not_to_be_had_or_believed_signs_nobody_in_core_s5_3_2(
    side: Side,
    connector: Connector,
    evil: EvilProvider,
    answer: Answer,
    fault: UpstreamFault,
    detail: str,
    times: int,
) -> None:
    evil.claims_in_id_token = False
    evil.bend["userinfo"] = answer
    assert is_refused(await side.refusal(connector), fault, detail)
    # Reading again does no harm, and helps with a server that is just being restarted.
    assert evil.count("userinfo") == times


async def test_userinfo_is_asked_a_second_time(side: Side, connector: Connector, evil: EvilProvider) -> None:
    evil.claims_in_id_token = False
    evil.bend["userinfo"] = lambda request, usual: (
        failing(502)(request, usual) if evil.count("userinfo") == 1 else usual
    )
    assert (await side.identify(connector)).email == "jane@lab.example"


@pytest.mark.parametrize(
    ("assumed", "told", "proven"),
    [(True, ABSENT, True), (True, False, False), (False, ABSENT, False), (False, True, True), (True, "false", False)],
)
async def test_an_address_is_assumed_to_be_verified_only_where_the_provider_never_says_core_s5_1(
    side: Side, evil: EvilProvider, assumed: bool, told: Any, proven: bool
) -> None:
    evil.id_token["email_verified"] = ABSENT
    evil.userinfo["email_verified"] = told
    connector = side.connect(evil, OIDC, assume_email_verified=assumed)
    assert (await side.identify(connector)).proven_email == ("jane@lab.example" if proven else None)


# ── Time, and the circuit ───────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("endpoint", ["token", "userinfo", "jwks", "discovery"])
async def test_a_slow_answer_is_not_waited_for(hasty: Side, evil: EvilProvider, endpoint: str) -> None:
    released = Event()
    evil.claims_in_id_token = False
    connector = hasty.connect(evil, OIDC)
    if endpoint != "discovery":
        await connector.authorization_url(LEFT)
    evil.bend[endpoint] = slow(released)
    try:
        assert is_refused(await hasty.refusal(connector), UpstreamFault.DOWN, "did not answer within 0.3 seconds")
    finally:
        released.set()


async def test_all_of_it_has_a_limit_of_its_own(
    side: Side, connector: Connector, evil: EvilProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert conversation.TIME_LIMIT.total_seconds() == 10
    monkeypatch.setattr(conversation, "TIME_LIMIT", timedelta(seconds=0.2))
    released = Event()
    evil.bend["token"] = slow(released)
    try:
        assert is_refused(await side.refusal(connector), UpstreamFault.DOWN, "no answer within 0.2 seconds")
    finally:
        released.set()


async def _go(connector: Connector) -> UpstreamFault:
    with pytest.raises(UpstreamRefused) as caught:
        await connector.authorization_url(LEFT)
    return caught.value.fault


async def test_a_provider_that_was_down_five_times_is_left_alone_for_a_while(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    now = system_clock()
    side.clock = lambda: now
    evil.clock = lambda: now
    answer = await side.browser.answer(await connector.authorization_url(LEFT))
    evil.bend["token"] = failing(503)
    for _ in range(FAILURES):
        assert (await side.refusal(connector)).fault is UpstreamFault.DOWN
    assert evil.count("token") == FAILURES
    # Nobody is sent there, and whoever comes back from there is told at once.
    assert await _go(connector) is UpstreamFault.DOWN
    for _ in range(3):
        with pytest.raises(UpstreamRefused) as caught:
            await side.take(connector, answer)
        assert is_refused(caught.value, UpstreamFault.DOWN, "is down")
    assert evil.count("token") == FAILURES
    # A no of the person needs nothing of the provider.
    with pytest.raises(UpstreamRefused) as caught:
        await side.take(connector, {"error": "access_denied", "iss": evil.issuer})
    assert caught.value.fault is UpstreamFault.DENIED
    now += PAUSE
    evil.bend.clear()
    assert (await side.identify(connector)).sub == "248289761001"


async def test_nobodys_name_or_groups_shut_the_provider_off_for_the_others(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    evil.claims_in_id_token = False
    for answer, _ in OF_ONE_PERSON:
        evil.bend["userinfo"] = answer
        assert (await side.refusal(connector)).fault is UpstreamFault.INVALID
    evil.bend.clear()
    evil.id_token["groups"] = ["x" * 1000] * 300
    for _ in range(FAILURES):
        assert (await side.refusal(connector)).fault is UpstreamFault.INVALID
    evil.id_token.clear()
    assert (await side.identify(connector)).sub == "248289761001"


async def test_what_is_fetched_for_everybody_is_down_when_it_is_too_large(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    evil.bend["jwks"] = body("x" * 300_000)
    assert is_refused(await side.refusal(connector), UpstreamFault.DOWN, "more than 262144 bytes")


async def test_a_refusal_shuts_nobody_off(side: Side, connector: Connector, evil: EvilProvider) -> None:
    """Or else anybody could do it, with a browser and some wrong codes."""
    for answer in (html(403), failing(429), body('{"error":"invalid_grant"}', status=400)):
        evil.bend["token"] = answer
        for _ in range(FAILURES):
            assert (await side.refusal(connector)).fault is UpstreamFault.REFUSED
    evil.bend.clear()
    evil.id_token["nonce"] = "another"
    for _ in range(FAILURES):
        assert (await side.refusal(connector)).fault is UpstreamFault.INVALID
    evil.id_token.clear()
    assert (await side.identify(connector)).sub == "248289761001"


@pytest.mark.parametrize(("failures", "arrives"), [(1, True), (2, False)])
async def test_a_token_is_asked_for_again_once_and_only_where_nothing_was_sent(
    evil: EvilProvider, side: Side, failures: int, arrives: bool
) -> None:
    answer = await side.browser.answer(await side.connect(evil, OIDC).authorization_url(LEFT))
    left = failures

    async def resolve(host: str, port: int) -> Sequence[str]:
        nonlocal left
        if evil.count("jwks") and left:
            left -= 1
            raise socket.gaierror(socket.EAI_AGAIN, "no name server")
        return ["127.0.0.1"]

    outbound = Outbound(allow=[AllowRule.parse("127.0.0.1")], resolve=resolve)
    forgetful = Side(outbound, side.browser)
    connector = forgetful.connect(evil, OIDC)
    await connector.authorization_url(LEFT)
    await forgetful.documents.get(f"{evil.issuer}/jwks")
    if arrives:
        assert (await forgetful.take(connector, answer)).sub == "248289761001"
        assert evil.count("token") == 1
    else:
        with pytest.raises(UpstreamRefused) as caught:
            await forgetful.take(connector, answer)
        assert is_refused(caught.value, UpstreamFault.DOWN, "cannot be resolved")
        assert evil.count("token") == 0
    await outbound.close()


async def test_what_lies_behind_an_answer_signs_nobody_in(side: Side, evil: EvilProvider) -> None:
    """A second answer behind the first is taken for that to the next person's request, and has not their nonce."""
    conversations: list[asyncio.Task[None] | None] = []

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.split(": ", 1) for line in head.splitlines()[1:] if line)
                body = await reader.readexactly(int(fields["Content-Length"]))
                passed_on = {name: fields[name] for name in ("Authorization", "Content-Type")}
                async with httpx2.AsyncClient(trust_env=False) as http:
                    answer = await http.post(f"{evil.issuer}/token", content=body, headers=passed_on)
                writer.write(2 * said(answer.content))
                await writer.drain()
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(twice, "127.0.0.1", 0)
    evil.metadata["token_endpoint"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
    connector = side.connect(evil, OIDC)
    assert (await side.identify(connector)).sub == "248289761001"
    evil.user["sub"] = "somebody-else"
    refused = await side.refusal(connector, replace(LEFT, nonce="o" * 43))
    assert is_refused(refused, UpstreamFault.INVALID, "another sign-in (nonce)")
    assert len(conversations) == 1
    await side.outbound.close()
    server.close()
    async with asyncio.timeout(30):
        await asyncio.gather(*filter(None, conversations))


async def test_a_provider_that_we_may_not_reach_is_down(side: Side, evil: EvilProvider) -> None:
    evil.claims_in_id_token = False
    evil.metadata["userinfo_endpoint"] = "http://169.254.169.254/latest"
    assert is_refused(await side.refusal(side.connect(evil, OIDC)), UpstreamFault.DOWN, "IDP_OUTBOUND_ALLOW")


# ── Signing out, and tokens for applications ────────────────────────────────────────────────────────────────────────
async def test_signing_out_there_names_the_session_and_where_to_go_on_rp_initiated_logout_s2(
    side: Side, connector: Connector, evil: EvilProvider
) -> None:
    url = await connector.logout_url("a.b.c", post_logout_redirect_uri="https://id.example/", state="s")
    assert url is not None
    assert url.startswith(f"{evil.issuer}/end_session?")
    expected = {"client_id": "lab-id", "post_logout_redirect_uri": "https://id.example/", "state": "s"}
    assert query(url) == {**expected, "id_token_hint": "a.b.c"}
    # Longer ones are refused by many servers; the person is then asked there.
    url = await connector.logout_url("a" * 4097, post_logout_redirect_uri="https://id.example/", state="s")
    assert query(url or "") == expected


async def test_signing_out_there_sends_no_state_where_nothing_hangs_on_it_rp_initiated_logout_s2(
    connector: Connector,
) -> None:
    url = await connector.logout_url("a.b.c", post_logout_redirect_uri="https://id.example/", state="")
    assert set(query(url or "")) == {"client_id", "post_logout_redirect_uri", "id_token_hint"}


async def test_signing_out_there_is_left_out_where_it_is_not_offered(side: Side, evil: EvilProvider) -> None:
    async def url(connector: Connector) -> str | None:
        return await connector.logout_url("a.b.c", post_logout_redirect_uri="https://id.example/", state="s")

    assert await url(side.connect(evil, OIDC, logout=False)) is None
    evil.metadata["end_session_endpoint"] = ABSENT
    side.restart()
    assert await url(side.connect(evil, OIDC)) is None
    evil.bend["discovery"] = failing()
    side.restart()
    assert await url(side.connect(evil, OIDC)) is None


async def test_a_refresh_token_is_kept_only_where_applications_need_it(side: Side, evil: EvilProvider) -> None:
    connector = side.connect(evil, OIDC, api_scope="drive mail")
    assert (await side.identify(connector)).refresh_token is None
    evil.token["scope"] = "openid mail extra"
    identity = await side.identify(connector, replace(LEFT, api=True))
    assert identity.refresh_token
    assert identity.api_scope == "mail"
    evil.token["scope"] = ABSENT
    assert (await side.identify(connector, replace(LEFT, api=True))).api_scope == "drive mail"
    evil.token["refresh_token"] = ABSENT
    assert (await side.identify(connector, replace(LEFT, api=True))).refresh_token is None


async def test_an_api_token_comes_of_the_refresh_token_rfc6749_s6(side: Side, evil: EvilProvider) -> None:
    connector = side.connect(evil, OIDC, api_scope="openid")
    identity = await side.identify(connector, replace(LEFT, api=True))
    assert identity.refresh_token
    token = await connector.api_token(identity.refresh_token, scope="openid")
    asked = {"grant_type": "refresh_token", "refresh_token": identity.refresh_token, "scope": "openid"}
    assert evil.last("token").form == asked
    assert token.access_token
    assert token.access_token not in repr(token)
    assert token.expires_in == HOUR
    # The provider rotates it.
    assert token.refresh_token not in (None, identity.refresh_token)
    evil.token |= {"refresh_token": ABSENT, "expires_in": ABSENT, "scope": ABSENT, "id_token": ABSENT}
    assert token.refresh_token
    again = await connector.api_token(token.refresh_token, scope="openid")
    assert (again.refresh_token, again.expires_in, again.scope) == (None, None, None)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        ("invalid_grant", UpstreamFault.DENIED),
        ("invalid_client", UpstreamFault.REFUSED),
        ("unauthorized_client", UpstreamFault.REFUSED),
    ],
)
async def test_an_api_token_that_was_taken_back_is_denied_rfc6749_s5_2(
    connector: Connector, evil: EvilProvider, error: str, fault: UpstreamFault
) -> None:
    evil.refuse_token(error)
    with pytest.raises(UpstreamRefused) as caught:
        await connector.api_token("r", scope="openid")
    assert is_refused(caught.value, fault, error)


async def test_a_connector_of_any_openid_provider_takes_no_token_of_the_browser(connector: Connector) -> None:
    with pytest.raises(NotImplementedError):
        await connector.identify_by_token("a.b.c", nonce="n", now=system_clock())
