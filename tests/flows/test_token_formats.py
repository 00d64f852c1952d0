"""Tokens and UserInfo in each form that a client can register: signed, unsigned, encrypted, opaque."""

import asyncio
import json
from base64 import urlsafe_b64encode
from functools import cache
from hashlib import sha256, sha512
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from joserfc.jwe import decrypt_compact
from joserfc.jwk import ECKey, RSAKey

from idp.crypto.jose import verify
from idp.crypto.jwe import ENCRYPTION_ALGS, ENCRYPTION_ENCS
from idp.domain.client import AccessTokenFormat
from idp.domain.signing_key import SigningAlgorithm
from tests.outbound.conftest import Serve
from tests.support.app import ALICE_ID, ISSUER, App, Browser, Start, answer_of, decoded
from tests.support.assertion import public_jwk

ALGS = [str(alg) for alg in SigningAlgorithm]
HASHES: dict[str, Any] = {"RS256": sha256, "PS256": sha256, "ES256": sha256, "EdDSA": sha512}
ENCRYPTED_ID_TOKEN = {"id_token_encrypted_response_alg": "ECDH-ES", "id_token_encrypted_response_enc": "A128GCM"}
ENCRYPTED_USERINFO = {"userinfo_encrypted_response_alg": "ECDH-ES", "userinfo_encrypted_response_enc": "A128GCM"}


@cache
def encryption_key(alg: str, number: int = 0) -> Any:
    return RSAKey.generate_key(2048) if alg == "RSA-OAEP-256" else ECKey.generate_key("P-256")


def encryption_keys(*algs: str, **changes: Any) -> dict[str, Any]:
    keys = [encryption_key(alg).as_dict(private=False) for alg in algs]
    return {"keys": [{**key, "use": "enc", "kid": alg, **changes} for key, alg in zip(keys, algs, strict=True)]}


def opened(jwe: str, alg: str = "ECDH-ES", enc: str = "A128GCM") -> tuple[dict[str, Any], str]:
    """Return header and content of what was encrypted to the key of this algorithm."""
    answer = decrypt_compact(jwe, encryption_key(alg), algorithms=[alg, enc])
    assert answer.plaintext is not None
    header: dict[str, Any] = dict(answer.headers())
    assert "zip" not in header
    return header, answer.plaintext.decode()


async def checked(app: App, token: str, alg: str) -> dict[str, Any]:
    """Return the claims of a JWT that a published key signed with this algorithm."""
    keys = (await app.http().get("/jwks")).json()["keys"]
    verified = verify(token, [key for key in keys if key["kid"] == decoded(token)[0]["kid"]], algorithms=[alg])
    return dict(verified.claims)


def left_half(value: str, alg: str) -> str:
    digest = HASHES[alg](value.encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


# ── Signed ID tokens ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("alg", ALGS)
async def test_id_tokens_are_signed_with_the_registered_algorithm_and_hashed_with_its_hash_oidc_core_s3_3_2_11(
    app: App, browser: Browser, alg: str
) -> None:
    await app.change("clients", ["hybrid"], id_token_signed_response_alg=alg)
    answer = await browser.authorize("hybrid", response_type="code id_token token")
    tokens = (await app.redeem(answer, "hybrid")).json()
    refreshed = (await app.refresh(tokens["refresh_token"], "hybrid")).json()

    first = await checked(app, answer.params["id_token"], alg)
    assert first["at_hash"] == left_half(answer.params["access_token"], alg)
    assert first["c_hash"] == left_half(answer.code, alg)
    assert first["s_hash"] == left_half("state-1", alg)
    for each in (tokens, refreshed):
        claims = await checked(app, each["id_token"], alg)
        assert claims["at_hash"] == left_half(each["access_token"], alg)
        assert {name: claims[name] for name in ("iss", "sub", "aud", "auth_time", "sid", "acr", "amr")} == {
            name: first[name] for name in ("iss", "sub", "aud", "auth_time", "sid", "acr", "amr")
        }
    # Access tokens are not for the client to read, and have an algorithm that every API knows.
    assert decoded(tokens["access_token"])[0]["alg"] == "RS256"


async def test_an_unsigned_id_token_comes_from_the_token_endpoint_where_that_is_registered_oidc_core_s3_1_3_7(
    app: App, browser: Browser
) -> None:
    await app.change("clients", ["portal"], id_token_signed_response_alg="none")
    tokens = await browser.tokens()

    header, claims = decoded(tokens["id_token"])
    assert header == {"alg": "none", "typ": "JWT"}
    assert tokens["id_token"].endswith(".")
    assert (claims["sub"], claims["aud"], claims["nonce"]) == (ALICE_ID, "portal", "nonce-1")
    # Anybody could have written it, so it is no hint.
    for path, answer in (("/authorize", "invalid_request"), ("/logout", None)):
        params = app.authorization_request() if path == "/authorize" else {}
        response = await browser.get(path, **params, id_token_hint=tokens["id_token"])
        assert (answer_of(response).error if answer else response.status_code) == (answer or 400)


# ── UserInfo ────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("alg", ALGS)
async def test_userinfo_is_signed_with_the_registered_algorithm_oidc_core_s5_3_2(
    app: App, browser: Browser, alg: str
) -> None:
    await app.change("clients", ["portal"], userinfo_signed_response_alg=alg)
    response = await app.userinfo((await browser.tokens())["access_token"])

    assert response.headers["content-type"] == "application/jwt"
    assert response.headers["cache-control"] == "no-store"
    claims = await checked(app, response.text, alg)
    assert (claims["iss"], claims["aud"], claims["sub"]) == (ISSUER, "portal", ALICE_ID)
    assert claims["name"] == "Alice Liddell"


async def test_userinfo_is_an_unsigned_jwt_where_that_is_registered_oidc_registration_s2(
    app: App, browser: Browser
) -> None:
    await app.change("clients", ["portal"], userinfo_signed_response_alg="none")
    response = await app.userinfo((await browser.tokens())["access_token"])

    assert response.headers["content-type"] == "application/jwt"
    header, claims = decoded(response.text)
    assert (header["alg"], claims["sub"], claims["aud"]) == ("none", ALICE_ID, "portal")


async def test_refusals_of_userinfo_stay_json_whatever_the_client_registered_rfc6750_s3(
    app: App, browser: Browser
) -> None:
    await app.change("clients", ["portal"], userinfo_signed_response_alg="ES256")
    token = (await browser.tokens())["access_token"]
    app.clock.advance(seconds=601)
    refused = await app.userinfo(token)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")


# ── Encryption ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("enc", ENCRYPTION_ENCS)
@pytest.mark.parametrize("alg", ENCRYPTION_ALGS)
async def test_an_encrypted_id_token_holds_a_signed_one_from_both_endpoints_oidc_core_s10_2(
    app: App, browser: Browser, alg: str, enc: str
) -> None:
    wanted = {"id_token_encrypted_response_alg": alg, "id_token_encrypted_response_enc": enc}
    # The key for signatures stands first, and is passed over.
    keys = {"keys": [public_jwk("key-1"), *encryption_keys(alg)["keys"]]}
    await app.change("clients", ["hybrid"], jwks=keys, **wanted)
    answer = await browser.authorize("hybrid", response_type="code id_token")
    tokens = (await app.redeem(answer, "hybrid")).json()
    refreshed = (await app.refresh(tokens["refresh_token"], "hybrid")).json()

    for jwe in (answer.params["id_token"], tokens["id_token"], refreshed["id_token"]):
        header, signed = opened(jwe, alg, enc)
        assert {"alg": alg, "enc": enc, "cty": "JWT", "kid": alg}.items() <= header.items()
        claims = await checked(app, signed, "RS256")
        assert (claims["sub"], claims["aud"]) == (ALICE_ID, "hybrid")
        assert ALICE_ID not in jwe
    # The signed token inside is a hint as any other; what is encrypted to the client cannot be read here.
    inside = opened(tokens["id_token"], alg, enc)[1]
    for hint, error in ((inside, None), (tokens["id_token"], "login_required")):
        assert answer_of(await browser.request("hybrid", id_token_hint=hint, prompt="none")).error == error


@pytest.mark.parametrize("signed", [None, "PS256"])
async def test_encrypted_userinfo_holds_json_or_a_signed_jwt_oidc_core_s5_3_2(
    app: App, browser: Browser, signed: str | None
) -> None:
    wanted = {**ENCRYPTED_USERINFO, "userinfo_signed_response_alg": signed}
    await app.change("clients", ["portal"], jwks=encryption_keys("ECDH-ES"), **wanted)
    response = await app.userinfo((await browser.tokens())["access_token"])

    assert response.headers["content-type"] == "application/jwt"
    header, content = opened(response.text)
    assert header["cty"] == ("JWT" if signed else "application/json")
    claims = await checked(app, content, signed) if signed else json.loads(content)
    assert (claims["sub"], claims["name"]) == (ALICE_ID, "Alice Liddell")


UNFIT: dict[str, Any] = {
    "no keys at all": {"jwks": None},
    "a key for signatures": {"jwks": {"keys": [public_jwk("key-1")]}},
    "a key of another kind": {"jwks": encryption_keys("RSA-OAEP-256")},
    "a key that is no use": {"jwks": encryption_keys("ECDH-ES", x="AAAA")},
    "keys that may not be fetched": {"jwks": None, "jwks_uri": "https://127.0.0.1:1/jwks"},
}


@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT.keys())
async def test_what_cannot_be_encrypted_is_not_given_in_the_clear_and_nothing_is_used_up_oidc_core_s10_2(
    app: App, browser: Browser, unfit: dict[str, Any]
) -> None:
    code = await browser.authorize("hybrid")
    tokens = (await app.redeem(await browser.authorize("hybrid"), "hybrid")).json()
    await app.change("clients", ["hybrid"], **ENCRYPTED_ID_TOKEN, **ENCRYPTED_USERINFO, **unfit)

    front = answer_of(await browser.request("hybrid", response_type="code id_token"))
    assert (front.error, front.params["state"], front.params["iss"]) == ("server_error", "state-1", ISSUER)
    assert not {"code", "id_token"} & front.params.keys()
    assert urlsplit(front.location).query == ""
    for refused in (
        await app.redeem(code, "hybrid"),
        await app.refresh(tokens["refresh_token"], "hybrid"),
        await app.userinfo(tokens["access_token"]),
    ):
        assert (refused.status_code, refused.json()["error"]) == (500, "server_error")
        assert refused.json().keys() <= {"error", "error_description", "error_uri"}

    # Its developer mends it, and tries again.
    await app.change("clients", ["hybrid"], jwks=encryption_keys("ECDH-ES"))
    assert opened((await app.redeem(code, "hybrid")).json()["id_token"])
    assert opened((await app.refresh(tokens["refresh_token"], "hybrid")).json()["id_token"])
    assert opened((await app.userinfo(tokens["access_token"])).text)


async def test_a_request_that_could_not_be_answered_is_answered_once_the_keys_are_there(
    app: App, browser: Browser
) -> None:
    await app.change("clients", ["hybrid"], **ENCRYPTED_ID_TOKEN)
    login = await browser.request("hybrid", response_type="id_token")
    consent = await browser.sign_in(login)
    failed = await browser.submit(consent, decision="allow")
    assert answer_of(failed).error == "server_error"
    async with app.store.read() as tx:
        assert await tx.grants.all() == []
    await app.change("clients", ["hybrid"], jwks=encryption_keys("ECDH-ES"))

    again = answer_of(await browser.get(f"/authorize/resume?{login.url.query.decode()}"))

    assert opened(again.params["id_token"])


async def test_a_consent_that_was_withdrawn_before_the_answer_could_be_given_is_asked_for_again(
    app: App, browser: Browser
) -> None:
    await app.change("clients", ["hybrid"], **ENCRYPTED_ID_TOKEN)
    login = await browser.request("hybrid", response_type="id_token", prompt="consent")
    assert answer_of(await browser.submit(await browser.sign_in(login), decision="allow")).error == "server_error"
    await app.services["applications"].withdraw(ALICE_ID, "hybrid")
    await app.change("clients", ["hybrid"], jwks=encryption_keys("ECDH-ES"))

    assert (await browser.get(f"/authorize/resume?{login.url.query.decode()}")).url.path == "/consent"


async def test_keys_behind_an_address_are_fetched_and_used_a_while_when_it_is_down_oidc_core_s10_2_1(
    start: Start, serve: Serve
) -> None:
    body = json.dumps(encryption_keys("ECDH-ES")).encode()
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)]

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[0])

    peer = await serve(answer, tls=None)
    app = await start(outbound_allow=f"127.0.0.1:{peer.port}")
    uri = f"http://127.0.0.1:{peer.port}/jwks"
    await app.change("clients", ["portal"], jwks_uri=uri, **ENCRYPTED_ID_TOKEN)
    browser = app.browser()
    tokens = await browser.tokens(scope="openid offline_access")
    assert opened(tokens["id_token"])

    answers[0] = b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"
    app.clock.advance(seconds=120)
    refreshed = (await app.refresh(tokens["refresh_token"])).json()
    assert opened(refreshed["id_token"])
    app.clock.advance(seconds=7200)
    assert (await app.refresh(refreshed["refresh_token"])).json()["error"] == "server_error"

    answers[0] = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    app.clock.advance(seconds=31)
    assert opened((await app.refresh(refreshed["refresh_token"])).json()["id_token"])


# ── Opaque access tokens ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
async def opaque(app: App) -> None:
    for client_id in ("portal", "hybrid", "robot"):
        await app.change("clients", [client_id], access_token_format=AccessTokenFormat.OPAQUE)


@pytest.mark.usefixtures("opaque")
async def test_an_opaque_token_works_wherever_a_jwt_does_rfc6749_s1_4(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope="openid profile groups")
    token = tokens["access_token"]
    assert len(token) == 43
    assert "." not in token
    assert decoded(tokens["id_token"])[1]["at_hash"] == left_half(token, "RS256")

    assert (await app.userinfo(token)).json()["name"] == "Alice Liddell"
    answer = await app.introspect(token)
    assert (answer["sub"], answer["aud"], answer["scope"]) == (ALICE_ID, ISSUER, "openid profile groups")
    assert answer["groups"]
    assert not await app.is_alive(token, "other")

    await app.post("/revoke", "portal", token=token)
    assert not await app.is_alive(token)
    assert (await app.userinfo(token)).status_code == 401
    refreshed = (await app.refresh(tokens["refresh_token"])).json()["access_token"]
    assert "." not in refreshed
    assert await app.is_alive(refreshed)


@pytest.mark.usefixtures("opaque")
async def test_opaque_tokens_come_from_the_other_flows_too(app: App, browser: Browser) -> None:
    answer = await browser.authorize("hybrid", response_type="id_token token")
    token = answer.params["access_token"]
    assert decoded(answer.params["id_token"])[1]["at_hash"] == left_half(token, "RS256")
    assert (await app.userinfo(token)).json()["sub"] == ALICE_ID

    service: httpx2.Response = await app.post("/token", "robot", grant_type="client_credentials", scope="data:read")
    assert "." not in service.json()["access_token"]
    assert (await app.introspect(service.json()["access_token"], "robot"))["sub"] == "robot"


@pytest.mark.usefixtures("opaque")
async def test_a_replayed_code_ends_its_opaque_tokens_too_rfc6749_s4_1_2(app: App, browser: Browser) -> None:
    answer = await browser.authorize("hybrid", response_type="code token")
    tokens = (await app.redeem(answer, "hybrid")).json()
    assert (await app.redeem(answer, "hybrid")).json()["error"] == "invalid_grant"

    for token in (answer.params["access_token"], tokens["access_token"], tokens["refresh_token"]):
        assert not await app.is_alive(token, "hybrid")
