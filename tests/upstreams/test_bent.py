"""The providers in this process are correct as they are, and every answer of theirs can be bent."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from threading import Event
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2
import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from tests.support.bent import ABSENT, body, failing, html, pkce_challenge, slow
from tests.support.clock import START, FakeClock
from tests.support.evil_provider import EvilProvider, Key
from tests.support.github import GitHub
from tests.support.upstreams import upstream_http, walk_at_once

CALLBACK = "http://localhost/callback"
VERIFIER = "a-verifier-of-at-least-forty-three-characters"
REQUEST = {
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "openid email",
    "state": "the-state",
    "nonce": "the-nonce",
    "code_challenge": pkce_challenge(VERIFIER),
    "code_challenge_method": "S256",
}


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with upstream_http() as http:
        yield http


async def answer_of(http: httpx2.AsyncClient, evil: EvilProvider, **changes: str) -> dict[str, str]:
    request = {**REQUEST, "client_id": evil.client_id, **changes}
    callback = await walk_at_once(http, f"{evil.issuer}/authorize?{urlencode(request)}")
    assert callback.startswith(f"{CALLBACK}?")
    return dict(parse_qsl(callback.removeprefix(f"{CALLBACK}?")))


async def redeemed(http: httpx2.AsyncClient, evil: EvilProvider, code: str, /, **changes: str) -> httpx2.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    auth = (evil.client_id, evil.client_secret)
    return await http.post(f"{evil.issuer}/token", data={**form, **changes}, auth=auth)


async def verified(http: httpx2.AsyncClient, evil: EvilProvider, id_token: str) -> dict[str, Any]:
    keys = KeySet.import_key_set((await http.get(f"{evil.issuer}/jwks")).json())
    return jwt.decode(id_token, keys, algorithms=["RS256"]).claims


async def signed_in(http: httpx2.AsyncClient, evil: EvilProvider, **changes: str) -> dict[str, Any]:
    answer = await answer_of(http, evil, **changes)
    return await verified(http, evil, (await redeemed(http, evil, answer["code"])).json()["id_token"])


async def test_unbent_it_is_a_correct_provider(evil: EvilProvider, http: httpx2.AsyncClient):
    evil.clock = FakeClock()
    answer = await answer_of(http, evil, max_age="0")
    assert (answer["state"], answer["iss"]) == ("the-state", evil.issuer)
    tokens = (await redeemed(http, evil, answer["code"])).json()
    claims = await verified(http, evil, tokens["id_token"])
    at = int(START.timestamp())
    assert {name: claims[name] for name in ("iss", "aud", "nonce", "iat", "auth_time", "email", "email_verified")} == {
        "iss": evil.issuer,
        "aud": evil.client_id,
        "nonce": "the-nonce",
        "iat": at,
        "auth_time": at,
        "email": "jane@lab.example",
        "email_verified": True,
    }
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    told = (await http.get(f"{evil.issuer}/userinfo", headers=headers)).json()
    assert told == {"sub": claims["sub"], "email": "jane@lab.example", "email_verified": True}
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    auth = (evil.client_id, evil.client_secret)
    refreshed = await http.post(f"{evil.issuer}/token", data=refresh, auth=auth)
    assert refreshed.json()["access_token"] != tokens["access_token"]
    assert (evil.count("token"), evil.last("token").form["grant_type"]) == (2, "refresh_token")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "x" * 43}, "invalid_grant"),
        ({"redirect_uri": "http://localhost/other"}, "invalid_grant"),
        ({"code": "guessed"}, "invalid_grant"),
        ({"grant_type": "refresh_token"}, "invalid_grant"),
    ],
)
async def test_it_refuses_a_token_request_that_is_not_the_codes(
    evil: EvilProvider, http: httpx2.AsyncClient, changes: dict[str, str], error: str
):
    answer = await answer_of(http, evil)
    assert (await redeemed(http, evil, answer["code"], **changes)).json() == {"error": error}


async def test_it_redeems_a_code_once_and_knows_its_client(evil: EvilProvider, http: httpx2.AsyncClient):
    code = (await answer_of(http, evil))["code"]
    assert (await redeemed(http, evil, code)).status_code == 200
    assert (await redeemed(http, evil, code)).json() == {"error": "invalid_grant"}
    stranger = {"client_id": evil.client_id, "client_secret": "guessed", "code": code}
    assert (await http.post(f"{evil.issuer}/token", data=stranger)).status_code == 401


async def test_members_are_replaced_made_from_the_usual_ones_and_left_out(evil: EvilProvider, http: httpx2.AsyncClient):
    evil.id_token |= {"aud": "another", "exp": lambda exp: exp - 7200, "nonce": ABSENT}
    claims = await signed_in(http, evil)
    assert (claims["aud"], claims["exp"] < claims["iat"], "nonce" in claims) == ("another", True, False)
    evil.metadata["issuer"] = "http://localhost:1"
    evil.callback["iss"] = ABSENT
    discovery = await http.get(f"{evil.issuer}/.well-known/openid-configuration")
    assert discovery.json()["issuer"] == "http://localhost:1"
    assert "iss" not in await answer_of(http, evil)
    evil.refuse("temporarily_unavailable")
    assert await answer_of(http, evil) == {"error": "temporarily_unavailable", "state": "the-state"}
    evil.reset()
    assert (await signed_in(http, evil))["aud"] == evil.client_id


def foreign_key(evil: EvilProvider) -> None:
    evil.key = Key.new(kid=evil.key.kid)


def unsigned(evil: EvilProvider) -> None:
    evil.alg = "none"


def public_key_as_secret(evil: EvilProvider) -> None:
    evil.alg, evil.hmac_key = "HS256", evil.key.public_pem


def client_secret(evil: EvilProvider) -> None:
    evil.alg = "HS256"


def unknown_kid(evil: EvilProvider) -> None:
    evil.header["kid"] = "unknown"


@pytest.mark.parametrize("bend", [foreign_key, unsigned, public_key_as_secret, client_secret, unknown_kid])
async def test_tokens_that_nobody_may_believe(
    evil: EvilProvider, http: httpx2.AsyncClient, bend: Callable[[EvilProvider], None]
):
    bend(evil)
    with pytest.raises((JoseError, ValueError)):
        await signed_in(http, evil)


async def test_keys_change_and_credentials_are_signed_with_them(evil: EvilProvider, http: httpx2.AsyncClient):
    before = evil.credential(nonce="n", hd="lab.example")
    claims = await verified(http, evil, before)
    assert (claims["nonce"], claims["hd"], claims["email"]) == ("n", "lab.example", "jane@lab.example")
    evil.rotate()
    await verified(http, evil, evil.credential())
    with pytest.raises((JoseError, ValueError)):
        await verified(http, evil, before)


async def test_a_session_of_an_hour_ago_is_told_by_auth_time(evil: EvilProvider, http: httpx2.AsyncClient):
    evil.auth_time = evil.clock() - timedelta(hours=1)
    claims = await signed_in(http, evil, prompt="login")
    assert claims["iat"] - claims["auth_time"] in range(3600, 3610)
    assert "auth_time" not in await signed_in(http, evil)


async def test_other_answers_take_the_place_of_the_usual_ones(evil: EvilProvider, http: httpx2.AsyncClient):
    url = f"{evil.issuer}/jwks"
    for bend, status, content_type in (
        (html(), 200, "text/html; charset=utf-8"),
        (failing(503), 503, None),
        (body("[]", status=201), 201, "application/json"),
    ):
        evil.bend["jwks"] = bend
        response = await http.get(url)
        assert (response.status_code, response.headers.get("content-type")) == (status, content_type)
    evil.refuse_token("invalid_client", 401)
    assert (await redeemed(http, evil, "code")).json() == {"error": "invalid_client"}


async def test_a_token_may_be_longer_than_anybody_reads(evil: EvilProvider, http: httpx2.AsyncClient):
    evil.id_token["filler"] = "x" * 1_000_000
    answer = await redeemed(http, evil, (await answer_of(http, evil))["code"])
    assert len(answer.content) > 1_000_000


async def test_a_body_comes_when_it_is_released(evil: EvilProvider, http: httpx2.AsyncClient):
    released = Event()
    evil.bend["jwks"] = slow(released)
    async with http.stream("GET", f"{evil.issuer}/jwks") as response:
        parts = response.aiter_bytes()
        assert await anext(parts) == b"{"
        released.set()
        assert b"".join([part async for part in parts]).endswith(b"}")


async def github_token(http: httpx2.AsyncClient, hub: GitHub, scope: str, **changes: str) -> httpx2.Response:
    request = {**REQUEST, "client_id": hub.client_id, "scope": scope}
    callback = await walk_at_once(http, f"{hub.issuer}/login/oauth/authorize?{urlencode(request)}")
    code = dict(parse_qsl(callback.partition("?")[2]))["code"]
    client = {"client_id": hub.client_id, "client_secret": hub.client_secret}
    form = {**client, "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **changes}
    headers = {"Accept": "application/json"}
    return await http.post(f"{hub.issuer}/login/oauth/access_token", data=form, headers=headers)


async def test_github_tells_who_somebody_is_and_to_whom_that_was_allowed_their_addresses(
    hub: GitHub, http: httpx2.AsyncClient
):
    tokens = (await github_token(http, hub, "read:user user:email")).json()
    assert (tokens["scope"], tokens["token_type"]) == ("read:user,user:email", "bearer")
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await http.get(f"{hub.issuer}/api/v3/user", headers=headers)).json()["id"] == hub.user["id"]
    emails = (await http.get(f"{hub.issuer}/api/v3/user/emails", headers=headers)).json()
    assert [email["email"] for email in emails if email["primary"] and email["verified"]] == ["jane@lab.example"]
    hub.rate_limited = True
    limited = await http.get(f"{hub.issuer}/api/v3/user", headers=headers)
    assert (limited.status_code, limited.headers["x-ratelimit-remaining"]) == (403, "0")
    hub.reset()
    narrow = (await github_token(http, hub, "read:user")).json()["access_token"]
    headers = {"Authorization": f"Bearer {narrow}"}
    assert (await http.get(f"{hub.issuer}/api/v3/user/emails", headers=headers)).status_code == 404
    assert (await http.get(f"{hub.issuer}/api/v3/user")).status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code": "guessed"}, "bad_verification_code"),
        ({"code_verifier": "x" * 43}, "bad_verification_code"),
        ({"client_secret": "guessed"}, "incorrect_client_credentials"),
        ({"redirect_uri": "http://localhost/other"}, "redirect_uri_mismatch"),
    ],
)
async def test_github_refuses_tokens_with_status_200(
    hub: GitHub, http: httpx2.AsyncClient, changes: dict[str, str], error: str
):
    refused = await github_token(http, hub, "user:email", **changes)
    assert (refused.status_code, refused.json()["error"]) == (200, error)


async def test_github_answers_with_a_form_unless_json_is_asked_for(hub: GitHub, http: httpx2.AsyncClient):
    hub.refuse_token()
    answer = await http.post(f"{hub.issuer}/login/oauth/access_token", data={})
    assert dict(parse_qsl(answer.text))["error"] == "bad_verification_code"
