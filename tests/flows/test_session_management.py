"""The page that applications frame to watch the sign-in (OpenID Connect Session Management 1.0)."""

import re

from tests.support.app import ISSUER, App, Browser, Start


async def test_any_site_may_frame_it_and_it_may_do_nothing_but_run_its_script_s3_2(app: App) -> None:
    page = await app.http().get("/check_session")

    assert page.status_code == 200
    policy = dict(
        directive.strip().partition(" ")[::2] for directive in page.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "*",
    }
    assert "x-frame-options" not in page.headers


async def test_it_is_the_same_for_everybody_and_may_be_kept_for_a_while(app: App, browser: Browser) -> None:
    await browser.sign_in()
    for_alice = await browser.http.get("/check_session")
    for_nobody = await app.http().get("/check_session")

    assert for_alice.content == for_nobody.content
    for page in (for_alice, for_nobody):
        assert re.fullmatch(r"public, max-age=\d{2,4}", page.headers["cache-control"])
        assert "set-cookie" not in page.headers


async def test_its_script_reads_the_cookie_that_the_server_sets(app: App, browser: Browser, start: Start) -> None:
    await browser.sign_in()
    page = await browser.http.get("/check_session")

    assert re.findall(r'data-cookie="([^"]+)"', page.text) == ["idp-state"]
    assert "idp-state" in browser.cookies
    secure = await start(issuer=ISSUER.replace("http:", "https:"))
    assert 'data-cookie="__Host-idp-state"' in (await secure.http().get("/check_session")).text
    (script,) = re.findall(r'<script src="([^"]+)"', page.text)
    assert (await app.http().get(script)).headers["content-type"].startswith("text/javascript")


async def test_it_is_announced_s3_3(app: App) -> None:
    metadata = (await app.http().get("/.well-known/openid-configuration")).json()
    assert metadata["check_session_iframe"] == f"{ISSUER}/check_session"
