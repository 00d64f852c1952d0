"""What protects people in their browsers: sessions, forms, frames, redirects (RFC 9700 §4, RFC 6749 §10)."""

import asyncio
import re
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2
import pytest

from idp.domain.user import AdminRole, UserStatus
from idp.features import FEATURES
from idp.services.accounts import save_user
from tests.support.app import (
    ALICE,
    ALICE_ID,
    BOB,
    BOB_ID,
    ISSUER,
    PASSWORD,
    App,
    Browser,
    Start,
    answer_of,
    decoded,
    form_of,
)

EVIL = "https://evil.example"


# ── Sessions ────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_the_cookie_changes_at_each_sign_in_and_the_old_one_is_dead(app: App, browser: Browser) -> None:
    await browser.sign_in()
    first = browser.cookies["idp"]
    await browser.sign_in(await browser.request(prompt="login"))

    assert browser.cookies["idp"] != first
    old = app.browser()
    old.http.cookies.set("idp", first)
    assert (await old.request()).url.path == "/login"


async def test_a_cookie_that_an_attacker_planted_is_never_taken_over(app: App, browser: Browser) -> None:
    planted = "planted-by-an-attacker-0123456789abcdefghijk"
    browser.http.cookies.set("idp", planted, domain="localhost.local", path="/")
    await browser.sign_in()

    assert browser.cookies["idp"] != planted
    attacker = app.browser()
    attacker.http.cookies.set("idp", planted)
    assert (await attacker.request()).url.path == "/login"


async def test_an_attackers_own_session_planted_in_a_browser_is_shown_for_what_it_is_and_shares_nothing(
    app: App, browser: Browser
) -> None:
    attacker = app.browser()
    await attacker.sign_in(user=BOB)
    browser.http.cookies.set("idp", attacker.cookies["idp"], domain="localhost.local", path="/")

    page = await browser.sign_in(await browser.request(prompt="login"), user=ALICE)

    assert (page.url.path, ALICE in page.text, BOB in page.text) == ("/consent", True, False)
    assert "Also signed in" in (home := (await browser.get("/")).text)
    assert BOB in home
    assert ALICE not in (await attacker.get("/")).text


async def test_two_people_of_one_browser_are_kept_apart(app: App, browser: Browser) -> None:
    of_alice = await browser.tokens()
    page = await browser.get("/login", add="1")
    await browser.sign_in(page, user=BOB)
    of_bob = await browser.tokens(user=BOB)

    assert decoded(of_bob["id_token"])[1]["sub"] == BOB_ID
    assert decoded(of_bob["id_token"])[1]["sid"] != decoded(of_alice["id_token"])[1]["sid"]
    assert f"Signed in as <b><bdi>{BOB}</bdi></b>" in (await browser.get("/")).text
    # Alice stays signed in beside Bob, with what she gave.
    assert await app.is_alive(of_alice["access_token"])
    assert await app.is_alive(of_bob["access_token"])


async def test_consent_of_one_person_does_not_serve_the_next(browser: Browser) -> None:
    page = await browser.sign_in(await browser.request(), user=ALICE)
    assert page.url.path == "/consent"
    switched = await browser.sign_in(await browser.get(f"/login?{page.url.query.decode()}"), user=BOB)

    assert switched.url.path == "/consent"
    assert BOB in switched.text
    # The form that Alice had been shown is not Bob's answer.
    assert (await browser.post(page, decision="allow")).status_code == 403


async def test_a_session_ends_when_it_is_idle_or_old(start: Start) -> None:
    app = await start(session_idle_seconds="600", session_ttl_seconds="1500")
    browser = app.browser()
    await browser.sign_in()
    app.clock.advance(seconds=599)
    assert (await browser.request()).url.path == "/consent"
    app.clock.advance(seconds=599)
    assert (await browser.request()).url.path == "/consent"
    app.clock.advance(seconds=302)  # 1500 s after the sign-in, though in use all the time
    assert (await browser.request()).url.path == "/login"

    await browser.sign_in()
    app.clock.advance(seconds=600)
    assert (await browser.request()).url.path == "/login"


async def test_a_disabled_account_is_signed_out_at_once_and_cannot_sign_in(app: App, browser: Browser) -> None:
    refused = await browser.sign_in(user="mallory@example.org")
    unknown = await browser.sign_in(await browser.get("/login"), user="nobody@example.org")
    wrong = await browser.sign_in(await browser.get("/login"), password="wrong")

    assert [page.status_code for page in (refused, unknown, wrong)] == [401, 401, 401]
    assert "idp" not in browser.cookies
    # The three pages differ in nothing but what was typed.
    texts = {re.sub(r'value="[^"]*"', "", page.text) for page in (refused, unknown, wrong)}
    assert len(texts) == 1


async def test_a_password_is_never_sent_back(browser: Browser) -> None:
    page = await browser.sign_in(password="a-mistyped-secret")

    assert "a-mistyped-secret" not in page.text
    assert form_of(page).fields["username"] == ALICE


# ── Cookies ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def set_cookies(response: httpx2.Response) -> dict[str, set[str]]:
    cookies = {}
    for header in response.headers.get_list("set-cookie"):
        name, _, rest = header.partition("=")
        cookies[name] = {part.strip().lower() for part in rest.split(";")[1:]}
    return cookies


async def test_cookies_on_the_loopback_are_out_of_reach_of_scripts_and_other_sites(browser: Browser) -> None:
    form = await browser.http.get("/login")
    signed_in = await browser.post(form, username=ALICE, password=PASSWORD)

    for response, name in ((form, "idp-form"), (signed_in, "idp")):
        assert set_cookies(response)[name] == {"httponly", "path=/", "samesite=lax"}
    # For session management, which is all that it is good for.
    assert set_cookies(signed_in)["idp-state"] == {"path=/", "samesite=lax"}


async def test_cookies_under_https_are_bound_to_the_host_and_to_tls(start: Start) -> None:
    app = await start(issuer="https://id.example.org")
    browser = app.browser()
    form = await browser.http.get("/login")
    signed_in = await browser.post(form, username=ALICE, password=PASSWORD)

    for response, name in ((form, "__Host-idp-form"), (signed_in, "__Host-idp")):
        assert set_cookies(response)[name] == {"httponly", "path=/", "samesite=lax", "secure"}
        assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert set_cookies(signed_in)["__Host-idp-state"] == {"path=/", "samesite=none", "secure"}
    assert (await browser.get("/")).text.count(ALICE) == 1
    # A cookie that a subdomain could have planted is not looked at.
    planted = app.browser()
    planted.http.cookies.set("idp", browser.cookies["__Host-idp"])
    assert ALICE not in (await planted.get("/")).text
    done = await browser.post(await browser.get("/logout"))
    assert "secure" in set_cookies(done)["__Host-idp"]


# ── Forged forms ────────────────────────────────────────────────────────────────────────────────────────────────────
async def forms(browser: Browser) -> list[tuple[httpx2.Response, dict[str, str]]]:
    """Every form of a signed-in person, with what a person would fill in."""
    consent = await browser.sign_in(await browser.request())
    return [
        (await browser.request(prompt="login"), {"username": ALICE, "password": PASSWORD}),
        (consent, {"decision": "allow"}),
        (await browser.get("/logout"), {}),
    ]


async def test_a_form_without_our_token_is_refused(app: App, browser: Browser) -> None:
    await app.browser().get("/login")
    others = app.browser()
    foreign = form_of(await others.get("/login")).fields["csrf"]
    for page, values in await forms(browser):
        action = form_of(page).action
        for csrf in ({"csrf": ""}, {"csrf": "x" * 64}, {"csrf": foreign}, {}):
            if "logout" in action and csrf in ({}, {"csrf": ""}):
                continue  # without one it counts as an application's request, which only asks
            response = await browser.http.post(action, data={**values, **csrf}, headers={"Origin": ISSUER})
            assert response.status_code == 403, (action, csrf)
            assert "location" not in response.headers
            assert "idp" not in set_cookies(response)


async def test_a_form_from_another_site_is_refused_although_token_and_cookies_are_right(browser: Browser) -> None:
    for page, values in await forms(browser):
        for headers in (
            {"Origin": EVIL},
            {"Origin": "null"},
            {"Origin": "http://localhost:8001"},
            {"Origin": f"{ISSUER}.evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            response = await browser.post(page, headers, **values)
            assert response.status_code == 403, (form_of(page).action, headers)
            assert "location" not in response.headers
            assert "idp" not in set_cookies(response)


async def test_a_form_of_another_session_is_refused(browser: Browser) -> None:
    pages = await forms(browser)
    await browser.submit(await browser.request(prompt="login"), username=BOB, password=PASSWORD)

    for page, values in pages:
        assert (await browser.post(page, **values)).status_code == 403, form_of(page).action


async def test_a_form_without_its_cookie_is_refused(app: App, browser: Browser) -> None:
    page = await browser.get("/login")
    nobody = app.browser()

    refused = await nobody.post(page, username=ALICE, password=PASSWORD)

    assert (refused.status_code, "idp" in nobody.cookies) == (403, False)
    # Whose page had merely gone stale gets a fresh one, with what was typed, and can go on.
    assert form_of(refused).fields["username"] == ALICE
    assert (await nobody.post(refused, username=ALICE, password=PASSWORD)).status_code == 303


async def test_a_browser_that_says_nothing_about_the_origin_is_judged_by_the_token(browser: Browser) -> None:
    page = await browser.get("/login")
    form = form_of(page)

    response = await browser.http.post(form.action, data={**form.fields, "username": ALICE, "password": PASSWORD})

    assert response.status_code == 303


async def test_nobody_is_signed_out_by_a_link_or_an_image(browser: Browser) -> None:
    await browser.sign_in()

    await browser.http.get("/logout", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"})

    assert ALICE in (await browser.get("/")).text


# ── Redirects and frames ────────────────────────────────────────────────────────────────────────────────────────────
async def test_no_parameter_leads_away_from_the_server(app: App) -> None:
    names = ("next", "return_to", "returnTo", "redirect", "redirect_uri", "url", "continue", "target")
    for target in (EVIL, "//evil.example", "/\\evil.example", "https:evil.example", "javascript:alert(1)"):
        browser, query = app.browser(), dict.fromkeys(names, target)
        page = await browser.http.get("/login", params=query)
        signed_in = await browser.post(page, username=ALICE, password=PASSWORD)
        assert signed_in.headers["location"] == "/"
        for path in ("/", "/logout", "/authorize/resume", "/consent"):
            response = await browser.http.get(path, params={**query, "interaction": target})
            location = response.headers.get("location", "")
            assert urlsplit(location).netloc == "", (path, location)
            assert not location.startswith(("//", "/\\"))
            assert "evil" not in location.partition("?")[0]


async def test_every_page_forbids_frames_scripts_of_others_and_caches(app: App, browser: Browser) -> None:
    html = {"Accept": "text/html"}
    pages = [
        await browser.http.get("/"),
        await browser.http.get("/login"),
        await browser.get("/authorize", client_id="unknown"),
        await browser.request(redirect_uri=EVIL),
        await browser.http.get("/nothing-here", headers=html),
        await browser.http.post("/", headers=html),
        await browser.http.get("/setup/closed"),
        *[page for page, _ in await forms(browser)],
        await browser.submit(await browser.get("/logout")),
    ]
    for page in pages:
        csp = page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in csp
        assert "default-src 'none'" in csp
        assert "unsafe" not in csp
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script>" not in page.text
        assert not re.search(r"\son\w+=", page.text)


async def test_codes_travel_in_redirects_that_nobody_keeps(app: App, browser: Browser) -> None:
    consent = await browser.sign_in(await browser.request())
    response = await browser.post(consent, decision="allow")

    assert response.status_code == 303
    assert response.headers["cache-control"] == "no-store"
    assert answer_of(response).code not in response.text


async def test_the_first_page_greets_whoever_is_signed_in(browser: Browser) -> None:
    assert "Sign in" in (await browser.get("/")).text

    await browser.sign_in()

    assert ALICE in (await browser.get("/")).text
    assert (await browser.http.get("/login")).headers["location"] == "/"


async def test_a_user_name_works_as_well_as_an_address_in_any_case(app: App) -> None:
    for identifier in ("alice", "ALICE", " Alice@Example.ORG "):
        browser = app.browser()
        await browser.sign_in(user=identifier)
        assert ALICE in (await browser.get("/")).text


# ── What was ended stays ended ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scope", ["openid profile", "openid profile offline_access"])
async def test_a_code_of_a_session_that_was_ended_meanwhile_is_worth_nothing(
    app: App, browser: Browser, scope: str
) -> None:
    answer = await browser.authorize(scope=scope)
    async with app.store.write() as tx:
        # As it is when the sign-out's own revocation came a moment before the grant.
        (session,) = await tx.sessions.all()
        await tx.sessions.end(session.id, now=app.clock())

    refused = await app.redeem(answer)

    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_signing_out_while_codes_are_minted_leaves_nothing_alive(app: App, browser: Browser) -> None:
    await browser.tokens(scope="openid profile")
    silent = app.authorization_request(prompt="none", scope="openid profile")
    page = await browser.get("/logout")

    async def mint() -> list[httpx2.Response]:
        return [await browser.http.get("/authorize", params=silent) for _ in range(6)]

    minted, _, more = await asyncio.gather(mint(), browser.submit(page), mint())

    for response in (*minted, *more):
        answer = answer_of(response)
        if answer.error is None:
            assert (await app.redeem(answer)).status_code == 400


async def test_a_disabled_account_that_is_enabled_again_starts_anew(app: App, browser: Browser) -> None:
    tokens = await browser.tokens(scope="openid offline_access")
    async with app.store.write() as tx:
        alice = await tx.users.get(ALICE_ID)
        disabled = replace(alice, status=UserStatus.DISABLED, updated_at=app.clock())
        await save_user(tx, disabled, before=alice)
        await save_user(tx, alice, before=disabled)

    assert not await app.is_alive(tokens["access_token"])
    assert (await app.refresh(tokens["refresh_token"])).status_code == 400
    assert (await browser.request()).url.path == "/login"


async def test_a_sign_in_elsewhere_does_not_answer_for_a_request_that_asked_for_one(app: App, browser: Browser) -> None:
    await browser.tokens(scope="openid profile")
    waiting = await browser.request(prompt="login", scope="openid profile")
    assert waiting.url.path == "/login"
    other = app.browser()
    app.clock.advance(seconds=1)
    await other.sign_in()

    assert (await other.get(f"/authorize/resume?{waiting.url.query.decode()}")).url.path == "/login"


async def test_the_setup_link_works_in_a_browser_where_somebody_is_signed_in(app: App, browser: Browser) -> None:
    async with app.store.write() as tx:
        for user in await tx.users.all():
            await tx.users.save(replace(user, roles=()))
    token = await app.services["setup"].open_link()
    await browser.sign_in()

    page = await browser.get(f"/setup/{token}")
    done = await browser.submit(page, email="root@example.org", name="Root", password="a-long-enough-password")

    assert done.status_code == 200
    async with app.store.read() as tx:
        assert await tx.users.any_with_role(AdminRole.SUPER_ADMIN)


# ── No redirect that nobody asked for ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_with_a_slash_too_many_leads_nowhere_whatever_host_is_named(app: App, method: str) -> None:
    for feature in FEATURES:
        for route in feature.routes:
            path = route.path.rstrip("/") + "/"
            if path == "/":
                continue
            answer = await app.http().request(method, path, headers={"Host": "evil.example"})
            assert answer.status_code in {404, 405}, path
            assert "location" not in answer.headers, path
