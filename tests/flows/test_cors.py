"""Browser applications read answers across origins, if their client registered the origin (Fetch §3.2)."""

import pytest

from tests.support.app import VERIFIER, App, Browser, bearer

SPA, EVIL = "https://spa.example.org", "https://evil.example"


def allowed(response: object) -> str | None:
    return response.headers.get("access-control-allow-origin")


@pytest.mark.parametrize("path", ["/token", "/userinfo", "/revoke"])
async def test_a_preflight_is_answered_with_what_these_requests_need(app: App, path: str) -> None:
    asking = {"Origin": SPA, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    response = await app.http().request("OPTIONS", path, headers=asking)

    assert (response.status_code, allowed(response)) == (204, SPA)
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "authorization" in response.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in response.headers
    assert (await app.http().request("OPTIONS", path)).status_code == 204


async def test_a_registered_origin_reads_success_and_refusal_at_the_token_endpoint(app: App, browser: Browser) -> None:
    answer = await browser.authorize("spa")
    form = {
        "grant_type": "authorization_code",
        "code": answer.code,
        "redirect_uri": f"{SPA}/callback",
        "code_verifier": VERIFIER,
    }
    for origin, expected in ((SPA, SPA), (EVIL, None), ("null", None), (SPA + ".evil.example", None), (None, None)):
        headers = {} if origin is None else {"Origin": origin}
        refused = await app.post("/token", "spa", headers, **{**form, "code": "x"})
        assert (refused.status_code, allowed(refused)) == (400, expected), origin
    tokens = await app.post("/token", "spa", {"Origin": SPA}, **form)
    assert (tokens.status_code, allowed(tokens), tokens.headers["vary"]) == (200, SPA, "Origin")
    revoked = await app.post("/revoke", "spa", {"Origin": SPA}, token=tokens.json()["refresh_token"])
    assert (revoked.status_code, allowed(revoked)) == (200, SPA)


async def test_one_clients_origin_does_not_read_another_clients_answers(app: App) -> None:
    for client_id in ("portal", "unknown"):
        response = await app.post("/token", client_id, {"Origin": SPA}, grant_type="refresh_token", refresh_token="x")
        assert allowed(response) is None
        assert response.headers["vary"] == "Origin"


async def test_registered_web_origins_replace_those_of_the_redirect_uris(app: App, browser: Browser) -> None:
    for origin, expected in (
        ("https://app.example.org", "https://app.example.org"),
        ("https://trusted.example.org", None),
    ):
        response = await app.post(
            "/token", "trusted", {"Origin": origin}, grant_type="refresh_token", refresh_token="x"
        )
        assert allowed(response) == expected


async def test_an_origin_is_compared_as_browsers_write_it(app: App) -> None:
    await app.change("clients", ["spa"], redirect_uris=("https://SPA.example.org:443/callback",))

    response = await app.post("/token", "spa", {"Origin": SPA}, grant_type="refresh_token", refresh_token="x")

    assert allowed(response) == SPA


async def test_userinfo_is_readable_for_the_origins_of_the_tokens_client(app: App, browser: Browser) -> None:
    token = (await browser.tokens("spa"))["access_token"]

    for origin, expected in ((SPA, SPA), (EVIL, None), ("https://portal.example.org", None)):
        response = await app.http().get("/userinfo", headers={**bearer(token), "Origin": origin})
        assert (response.status_code, allowed(response)) == (200, expected)
    app.clock.advance(seconds=601)
    expired = await app.http().get("/userinfo", headers={**bearer(token), "Origin": SPA})
    assert (expired.status_code, allowed(expired)) == (401, SPA)
    assert "WWW-Authenticate" in expired.headers["access-control-expose-headers"]
    unknown = await app.http().get("/userinfo", headers={**bearer("x"), "Origin": SPA})
    assert (unknown.status_code, allowed(unknown)) == (401, SPA)


async def test_pages_and_introspection_are_readable_for_nobody_else(app: App, browser: Browser) -> None:
    headers = {"Origin": SPA}
    for response in (
        await browser.http.get("/authorize", params=app.authorization_request("spa"), headers=headers),
        await browser.http.get("/login", headers=headers),
        await browser.http.get("/logout", headers=headers),
        await app.post("/introspect", "portal", headers, token="x"),
        await app.http().request("OPTIONS", "/authorize", headers=headers),
        await app.http().request("OPTIONS", "/login", headers=headers),
        await app.http().request("OPTIONS", "/introspect", headers=headers),
    ):
        assert allowed(response) is None


async def test_discovery_and_keys_are_readable_for_everybody(app: App) -> None:
    for path in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"):
        for origin in ({"Origin": EVIL}, {}):
            assert allowed(await app.http().get(path, headers=origin)) == "*"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "\x7f", "https://spa.example.org.evil.example", "*"]
)
async def test_a_preflight_of_an_origin_that_no_client_has_is_granted_nothing_fetch_s3_2_3(
    app: App, origin: str
) -> None:
    asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    response = await app.http().request("OPTIONS", "/token", headers=asking)
    assert response.status_code == 204
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_a_preflight_never_lets_cookies_across_and_learns_of_new_clients_fetch_s3_2_5(app: App) -> None:
    asking = {"Origin": "https://new.example", "Access-Control-Request-Method": "POST"}
    before = await app.http().request("OPTIONS", "/token", headers=asking)
    assert "access-control-allow-origin" not in before.headers

    await app.change("clients", ["spa"], web_origins=("https://new.example",))

    after = await app.http().request("OPTIONS", "/token", headers=asking)
    assert after.headers["access-control-allow-origin"] == "https://new.example"
    assert "access-control-allow-credentials" not in after.headers


async def test_a_browser_application_learns_that_its_token_is_unknown_rfc6750_s3(app: App) -> None:
    for origin, readable in (("https://spa.example.org", True), ("https://evil.example", False)):
        headers = {"Origin": origin, "Authorization": "Bearer unknown"}
        response = await app.http().get("/userinfo", headers=headers)
        assert (response.status_code, "access-control-allow-origin" in response.headers) == (401, readable)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks"])
async def test_metadata_and_keys_take_preflights_and_no_other_method_fetch_s4_8(app: App, path: str) -> None:
    asking = {"Origin": "https://any.example", "Access-Control-Request-Method": "GET"}
    preflight = await app.http().request("OPTIONS", path, headers=asking)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    posted = await app.http().post(path)
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
