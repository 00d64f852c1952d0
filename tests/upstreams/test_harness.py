"""The providers that other tests sign in at do what a client has to expect of them, and bend where they are bent."""

from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from idp.domain.clock import system_clock
from tests.support.bent import pkce_challenge
from tests.support.browser import Watch, chromium
from tests.support.evil_provider import EvilProvider
from tests.support.upstreams import (
    CALLBACK,
    MockProvider,
    NpmProvider,
    SecondLabId,
    Upstream,
    browse_mock,
    browse_npm,
    browse_second_lab_id,
    leave_npm,
    offline,
    upstream_http,
    walk_mock,
    walk_npm,
    walk_second_lab_id,
)

JANE = "jane"
CLAIMS = {"email": "jane@lab.example", "email_verified": True, "name": "Jane Doe", "hd": "lab.example", "groups": ["a"]}


@dataclass
class RelyingParty:
    """A client that believes nothing: one authorization request, with what its answer has to be checked against."""

    http: httpx2.AsyncClient
    upstream: Upstream | EvilProvider

    def __post_init__(self) -> None:
        self.state, self.nonce, self.verifier = token_urlsafe(), token_urlsafe(), token_urlsafe(40)
        self.answer: dict[str, str] = {}

    async def document(self, member: str | None = None) -> Any:
        url = f"{self.upstream.issuer}/.well-known/openid-configuration"
        metadata = (await self.http.get(url)).raise_for_status().json()
        assert metadata["issuer"] == self.upstream.issuer
        return metadata if member is None else (await self.http.get(metadata[member])).raise_for_status().json()

    async def url(self, **changes: str) -> str:
        request = {
            "client_id": self.upstream.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid profile email",
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": pkce_challenge(self.verifier),
            "code_challenge_method": "S256",
        }
        metadata = await self.document()
        return f"{metadata['authorization_endpoint']}?{urlencode({**request, **changes})}"

    def arrive(self, callback: str) -> dict[str, str]:
        assert callback.startswith(f"{CALLBACK}?"), callback
        self.answer = dict(parse_qsl(urlsplit(callback).query, strict_parsing=True))
        assert self.answer["state"] == self.state
        return self.answer

    async def ask(self, **form: str) -> httpx2.Response:
        metadata = await self.document()
        client = (self.upstream.client_id, self.upstream.client_secret)
        return await self.http.post(metadata["token_endpoint"], data=form, auth=client)

    async def redeem(self, **changes: str) -> dict[str, Any]:
        form = {"grant_type": "authorization_code", "code": self.answer["code"], "redirect_uri": CALLBACK}
        response = await self.ask(**{**form, "code_verifier": self.verifier, **changes})
        assert response.status_code == 200, response.text
        return response.json()

    async def claims(self, id_token: str) -> dict[str, Any]:
        keys = KeySet.import_key_set(await self.document("jwks_uri"))
        claims = jwt.decode(id_token, keys, algorithms=["RS256"]).claims
        assert (claims["iss"], claims["nonce"]) == (self.upstream.issuer, self.nonce)
        assert claims["aud"] in (self.upstream.client_id, [self.upstream.client_id])
        assert claims["exp"] > int(system_clock().timestamp()) >= claims["iat"] - 1
        return claims

    async def userinfo(self, access_token: str) -> dict[str, Any]:
        metadata = await self.document()
        headers = {"Authorization": f"Bearer {access_token}"}
        return (await self.http.get(metadata["userinfo_endpoint"], headers=headers)).raise_for_status().json()


@pytest.fixture
async def http():
    async with upstream_http() as http:
        yield http


async def test_the_mock_signs_somebody_in_with_a_registered_client(mock: MockProvider, http: httpx2.AsyncClient):
    mock.set_user(JANE, **CLAIMS)
    client = RelyingParty(http, mock.registered(CALLBACK))
    client.arrive(await walk_mock(http, await client.url(), JANE))
    tokens = await client.redeem()
    claims = await client.claims(tokens["id_token"])
    assert (claims["sub"], claims["hd"]) == (JANE, "lab.example")
    assert (await client.userinfo(tokens["access_token"]))["email"] == "jane@lab.example"


async def test_the_mock_denies_when_nobody_signs_in(mock: MockProvider, http: httpx2.AsyncClient):
    client = RelyingParty(http, mock)
    callback = await walk_mock(http, await client.url(), None)
    assert dict(parse_qsl(urlsplit(callback).query))["error"] == "access_denied"


async def test_npm_oidc_provider_tells_when_and_how_somebody_signed_in(npm: NpmProvider, http: httpx2.AsyncClient):
    npm.set_user(JANE, **CLAIMS)
    npm.set_redirect_uris("http://localhost:1/login/npm/callback", CALLBACK)
    client = RelyingParty(http, npm)
    url = await client.url(scope="openid email groups offline_access", prompt="consent", max_age="600")
    answer = client.arrive(await walk_npm(http, url, JANE, acr="urn:example:multi", amr=["pwd", "otp"]))
    assert answer["iss"] == npm.issuer
    tokens = await client.redeem()
    claims = await client.claims(tokens["id_token"])
    assert (claims["sub"], claims["hd"], claims["acr"], claims["amr"]) == (
        JANE,
        "lab.example",
        "urn:example:multi",
        ["pwd", "otp"],
    )
    assert claims["auth_time"] <= claims["iat"]
    assert "email" not in claims
    told = await client.userinfo(tokens["access_token"])
    assert (told["email"], told["email_verified"], told["groups"]) == ("jane@lab.example", True, ["a"])
    refreshed = await client.ask(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert refreshed.json()["access_token"] != tokens["access_token"]


@pytest.mark.parametrize(
    ("prompt", "asked"), [("", False), ("none", False), ("login", True), ("consent", True), ("select_account", True)]
)
async def test_npm_oidc_provider_keeps_a_session_and_asks_where_prompt_says_so(
    npm: NpmProvider, http: httpx2.AsyncClient, prompt: str, asked: bool
):
    for sub in (JANE, "joan"):
        npm.set_user(sub, **CLAIMS)
    for sub, wanted in ((JANE, ""), ("joan", prompt)):
        client = RelyingParty(http, npm)
        client.arrive(await walk_npm(http, await client.url(**({"prompt": wanted} if wanted else {})), sub))
        claims = await client.claims((await client.redeem())["id_token"])
    assert claims["sub"] == ("joan" if asked else JANE)


async def test_npm_oidc_provider_denies_strangers_and_asks_nobody_silently(npm: NpmProvider, http: httpx2.AsyncClient):
    client = RelyingParty(http, npm)
    assert client.arrive(await walk_npm(http, await client.url(), "stranger"))["error"] == "access_denied"
    assert client.arrive(await walk_npm(http, await client.url(), None))["error"] == "access_denied"
    assert client.arrive(await walk_npm(http, await client.url(prompt="none"), JANE))["error"] == "login_required"


async def test_npm_oidc_provider_ends_its_session(npm: NpmProvider, http: httpx2.AsyncClient):
    npm.set_user(JANE, **CLAIMS)
    npm.set_redirect_uris(CALLBACK)
    client = RelyingParty(http, npm)
    client.arrive(await walk_npm(http, await client.url(), JANE))
    metadata = await client.document()
    asked = {"id_token_hint": (await client.redeem())["id_token"], "post_logout_redirect_uri": CALLBACK, "state": "s"}
    assert await leave_npm(http, f"{metadata['end_session_endpoint']}?{urlencode(asked)}") == f"{CALLBACK}?state=s"
    assert client.arrive(await walk_npm(http, await client.url(prompt="none"), JANE))["error"] == "login_required"
    assert metadata["revocation_endpoint"] == f"{npm.issuer}/token/revocation"


async def test_a_second_lab_id_signs_somebody_in_and_may_be_told_no(second: SecondLabId, http: httpx2.AsyncClient):
    email = second.provider.new_person()
    client = RelyingParty(http, second)
    answer = client.arrive(await walk_second_lab_id(http, await client.url(max_age="600"), email))
    assert answer["iss"] == second.issuer
    tokens = await client.redeem()
    claims = await client.claims(tokens["id_token"])
    assert claims["auth_time"] <= claims["iat"]
    told = await client.userinfo(tokens["access_token"])
    assert (told["sub"], told["email"], told["email_verified"]) == (claims["sub"], email, True)
    denied = RelyingParty(http, second)
    url = await denied.url(prompt="consent")
    assert denied.arrive(await walk_second_lab_id(http, url, None))["error"] == "access_denied"


async def test_all_three_sign_somebody_in_in_chromium(mock: MockProvider, npm: NpmProvider, second: SecondLabId):
    email = second.provider.new_person()
    npm.set_user(JANE, **CLAIMS)
    ways = [
        (mock, lambda page: browse_mock(page, JANE)),
        (npm, lambda page: browse_npm(page, JANE, amr=["pwd"])),
        (second, lambda page: browse_second_lab_id(page, email)),
    ]
    async with chromium() as browser, upstream_http() as http:
        context = await browser.new_context()
        watch = Watch(context)
        await offline(context)
        # Nobody listens there; the address is what counts.
        await context.route(f"{CALLBACK}?*", lambda route: route.fulfill(status=200, body="arrived"))
        for upstream, sign_in in ways:
            client = RelyingParty(http, upstream)
            page = await context.new_page()
            await page.goto(await client.url())
            await sign_in(page)
            await page.wait_for_url(f"{CALLBACK}?*")
            client.arrive(page.url)
            await client.claims((await client.redeem())["id_token"])
        assert watch.complaints == []


async def test_a_second_lab_id_takes_new_accounts(second: SecondLabId, http: httpx2.AsyncClient):
    second.set_user("late@lab.example", name="Late Comer", email_verified=False)
    client = RelyingParty(http, second)
    client.arrive(await walk_second_lab_id(http, await client.url(), "late@lab.example"))
    told = await client.userinfo((await client.redeem())["access_token"])
    assert (told["name"], told["email_verified"]) == ("Late Comer", False)
