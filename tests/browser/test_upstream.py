"""Signing in through other providers in a real browser: three real ones, and stand-ins for GitHub and ORCID.

Google is npm oidc-provider, by IDP_GOOGLE_ISSUER; `campus` is another Lab ID; `mock` and ORCID are oidc-provider-mock.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from idp.crypto.jose import read_unverified
from idp.domain.clock import system_clock
from tests.browser.conftest import Crossroads, NewContext
from tests.support.browser import Watch, fill_in_login
from tests.support.upstreams import browse_mock, browse_npm, browse_second_lab_id, upstream_http, walk_npm

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEMO = "Sign in with Lab ID"
GREETING = "Hello, Nora"
LINK = "You already have an account"
LOST = "This sign-in cannot go on"
ORCID_ID = "0000-0002-1825-0097"
NAMES = {"google": "Google", "campus": "Campus login", "mock": "Mock", "github": "GitHub", "orcid": "ORCID"}


async def open_page(new_context: NewContext, *, scripts: bool = True) -> Page:
    context, _ = await new_context(java_script_enabled=scripts)
    await context.route(is_on_the_internet, answer_with_nothing)
    return await context.new_page()


def is_on_the_internet(url: str) -> bool:
    """The mock wants a style sheet from there; `offline` would keep the other Lab ID away, too."""
    return urlsplit(url).hostname not in {"localhost", "127.0.0.1"}


async def answer_with_nothing(route: Route) -> None:
    await route.fulfill(content_type="text/css", body="")


async def press(page: Page, provider: str) -> None:
    await page.get_by_role("button", name=f"Sign in with {NAMES[provider]}", exact=True).click()


async def heading(page: Page, name: str) -> None:
    await expect(page.get_by_role("heading", name=name)).to_be_visible()


async def leave_demo(page: Page, crossroads: Crossroads) -> None:
    """Go from the demo application to the sign-in page."""
    await page.goto(crossroads.demo_url)
    await page.get_by_role("button", name=DEMO).click()
    await heading(page, "Sign in")


async def allow(page: Page) -> None:
    await page.get_by_role("button", name="Allow", exact=True).click()


async def sign_out_of_demo(page: Page) -> None:
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_contain_text("You are signed out")


async def linked_page(page: Page, crossroads: Crossroads, email: str) -> None:
    """Sign in by password, and open the page of connected accounts."""
    await page.goto(f"{crossroads.issuer}/login?next=/account/linked")
    await fill_in_login(page, email)
    await heading(page, "Connected accounts")


async def connect(page: Page, provider: str) -> None:
    """Go from the page of connected accounts to a provider."""
    await page.get_by_role("button", name=f"Connect {NAMES[provider]}", exact=True).click()


async def newcomer_at(provider: str, page: Page, crossroads: Crossroads) -> Callable[[], Awaitable[None]]:
    """Let somebody have an account at a provider and none here; return what they do on its pages."""
    email = crossroads.new_email()
    claims = {"email_verified": True, "name": "Nora Newcomer"}
    if provider == "google":
        sub = crossroads.at_google(email)
        return lambda: browse_npm(page, sub)
    if provider == "mock":
        crossroads.mock.set_user(email, email=email, **claims)
        return lambda: browse_mock(page, email)
    if provider == "campus":
        crossroads.campus.set_user(email, **claims)
        return lambda: browse_campus(page, crossroads, email)
    crossroads.at_github(email)
    return _nothing


async def browse_campus(page: Page, crossroads: Crossroads, email: str) -> None:
    # Both have such a page.
    await page.wait_for_url(f"{crossroads.campus.issuer}/login?*")
    await browse_second_lab_id(page, email)


async def _nothing() -> None:
    """GitHub's stand-in asks nobody."""


# ── Signing in ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
@pytest.mark.parametrize("provider", ["google", "campus", "mock", "github"])
async def test_a_newcomer_gets_an_account_and_comes_to_the_application(
    provider: str, scripts: bool, crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context, scripts=scripts)
    walk = await newcomer_at(provider, page, crossroads)
    await leave_demo(page, crossroads)
    await press(page, provider)
    await walk()
    await heading(page, "wants to use your account")
    await allow(page)
    await heading(page, GREETING)


async def test_who_is_known_signs_in_without_a_question(crossroads: Crossroads, new_context: NewContext) -> None:
    page = await open_page(new_context)
    sub = crossroads.at_google(crossroads.new_email())
    await leave_demo(page, crossroads)
    await press(page, "google")
    await browse_npm(page, sub)
    await allow(page)
    await sign_out_of_demo(page)
    await page.get_by_role("button", name=DEMO).click()
    await press(page, "google")
    await browse_npm(page, sub)
    await heading(page, GREETING)


# ── Linking ─────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
async def test_an_account_with_that_address_is_linked_once_it_was_proven(
    scripts: bool, crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context, scripts=scripts)
    email = crossroads.provider.new_person()
    sub = crossroads.at_google(email)
    await leave_demo(page, crossroads)
    await press(page, "google")
    await browse_npm(page, sub)
    await heading(page, LINK)
    await page.get_by_role("link", name="Sign in", exact=True).click()
    await expect(page.get_by_label("Email or user name")).to_have_value(email)
    await fill_in_login(page, email)
    await heading(page, "Connect Google?")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await allow(page)
    # The account of before, with its own name.
    await heading(page, "Hello, Person")
    await sign_out_of_demo(page)
    await page.get_by_role("button", name=DEMO).click()
    await press(page, "google")
    await browse_npm(page, sub)
    await heading(page, "Hello, Person")


async def test_who_does_not_prove_the_account_gets_nowhere(crossroads: Crossroads, new_context: NewContext) -> None:
    page = await open_page(new_context)
    sub = crossroads.at_google(crossroads.provider.new_person())
    await page.goto(f"{crossroads.issuer}/login")
    await press(page, "google")
    await browse_npm(page, sub)
    await heading(page, LINK)
    asking = page.url
    await page.get_by_role("link", name="Sign in", exact=True).click()
    # Another account of theirs proves nothing about this one.
    await fill_in_login(page, crossroads.provider.new_person())
    await heading(page, LINK)
    await page.goto(f"{crossroads.issuer}/account/linked")
    await expect(page.get_by_text("No other account is connected yet.")).to_be_visible()
    await page.context.clear_cookies()
    await page.goto(asking)
    await heading(page, LOST)


async def test_orcid_tells_no_address_so_the_person_says_which_account_is_theirs(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context)
    crossroads.orcid.set_user(ORCID_ID, given_name="Nora", family_name="Newcomer")
    await page.goto(f"{crossroads.issuer}/login")
    await press(page, "orcid")
    await browse_mock(page, ORCID_ID)
    await heading(page, "Sign in to your account here")
    await page.get_by_role("link", name="Sign in", exact=True).click()
    email = crossroads.provider.new_person()
    await fill_in_login(page, email)
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.get_by_text("Signed in as")).to_contain_text(email)
    await page.goto(f"{crossroads.issuer}/account/linked")
    await expect(page.get_by_role("heading", name="ORCID")).to_have_count(2)


async def test_another_account_is_connected_and_disconnected_again(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context)
    await linked_page(page, crossroads, crossroads.provider.new_person())
    at_campus = crossroads.new_email()
    crossroads.campus.set_user(at_campus, email_verified=True)
    await connect(page, "campus")
    await browse_campus(page, crossroads, at_campus)
    await heading(page, "Connect Campus login?")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await heading(page, "Connected accounts")
    await page.get_by_role("button", name=f"Disconnect Campus login {at_campus}").click()
    await expect(page.get_by_role("status")).to_contain_text("Done")
    await expect(page.get_by_text(at_campus)).to_have_count(0)
    await expect(page.get_by_text("No other account is connected yet.")).to_be_visible()


async def test_the_last_way_in_stays_until_there_is_another(crossroads: Crossroads, new_context: NewContext) -> None:
    page = await open_page(new_context)
    sub = crossroads.at_google(crossroads.new_email())
    await page.goto(f"{crossroads.issuer}/login?next=/account/linked")
    await press(page, "google")
    await browse_npm(page, sub)
    await expect(page.get_by_text("This is your only way to sign in")).to_be_visible()
    await expect(page.get_by_role("button", name=re.compile("Disconnect"))).to_have_count(0)


async def test_an_address_that_changed_there_is_asked_about_once(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context)
    old, new = crossroads.new_email(), crossroads.new_email()
    sub = crossroads.at_google(old)
    await page.goto(f"{crossroads.issuer}/login")
    await press(page, "google")
    await browse_npm(page, sub)
    await expect(page.get_by_text("Signed in as")).to_contain_text(old)
    crossroads.at_google(new, sub=sub)
    await page.goto(f"{crossroads.issuer}/login?add=1")
    await press(page, "google")
    await browse_npm(page, sub)
    await heading(page, "Your address has changed")
    await page.get_by_role("button", name="Use the new address").click()
    await expect(page.get_by_text("Signed in as")).to_contain_text(new)


# ── Freshness ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("asked", [{"prompt": "login"}, {"max_age": "0"}], ids=["prompt=login", "max_age=0"])
async def test_a_provider_that_tells_auth_time_proves_a_new_sign_in(
    asked: dict[str, str], crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context)
    sub = crossroads.at_google(crossroads.new_email())
    await page.goto(crossroads.authorization())
    await press(page, "google")
    await browse_npm(page, sub)
    await landed(page, crossroads)
    began = int(system_clock().timestamp())
    await page.goto(crossroads.authorization(**asked))
    await press(page, "google")
    await browse_npm(page, sub)
    assert await auth_time(await landed(page, crossroads), crossroads) >= began


async def test_the_mock_tells_the_time_of_its_token_as_auth_time_and_is_believed(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    """What a provider asserts is all that there is to go by: the person of this one was not asked again."""
    page = await open_page(new_context)
    walk = await newcomer_at("mock", page, crossroads)
    await page.goto(crossroads.authorization(prompt="login"))
    await press(page, "mock")
    await walk()
    await landed(page, crossroads)


async def test_a_provider_that_proves_nothing_is_followed_by_the_password(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context)
    email = crossroads.provider.new_person()
    crossroads.at_github(email)
    await linked_page(page, crossroads, email)
    await connect(page, "github")
    await page.get_by_role("button", name="Connect", exact=True).click()
    await heading(page, "Connected accounts")
    await page.goto(crossroads.authorization(prompt="login"))
    await press(page, "github")
    await expect(page.get_by_role("status")).to_contain_text("without having been asked who you are")
    await expect(page.get_by_role("button", name=re.compile("Sign in with"))).to_have_count(0)
    await fill_in_login(page, email)
    await landed(page, crossroads)


async def test_without_a_password_the_application_is_told_that_nobody_proved_it(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context)
    crossroads.at_github(crossroads.new_email())
    await page.goto(crossroads.authorization())
    await press(page, "github")
    await landed(page, crossroads)
    await page.goto(crossroads.authorization(prompt="login"))
    await press(page, "github")
    await page.wait_for_url(f"{crossroads.application}?*")
    assert parse_qs(urlsplit(page.url).query)["error"] == ["login_required"]


async def landed(page: Page, crossroads: Crossroads) -> str:
    """Return the code that the application got."""
    await page.wait_for_url(f"{crossroads.application}?*")
    (code,) = parse_qs(urlsplit(page.url).query)["code"]
    return code


async def auth_time(code: str, crossroads: Crossroads) -> int:
    """Redeem a code, and return when its person proved who they are."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": crossroads.application}
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{crossroads.issuer}/token", data=form, auth=("plain", "plain-secret"))
    told = read_unverified(answer.raise_for_status().json()["id_token"]).claims["auth_time"]
    assert isinstance(told, int)
    return told


# ── What goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_provider_that_is_down_has_a_page_and_the_others_work_from_there(
    crossroads: Crossroads, browser: Browser
) -> None:
    async with complaining(browser, "status of 503") as page:
        sub = crossroads.at_google(crossroads.new_email())
        await leave_demo(page, crossroads)
        await page.get_by_role("button", name="Sign in with Closed").click()
        await heading(page, "The provider does not answer")
        await expect(page.get_by_text("You were signing in with Closed.")).to_be_visible()
        await page.get_by_role("link", name="Try again").click()
        await press(page, "google")
        await browse_npm(page, sub)
        await allow(page)
        await heading(page, GREETING)


@asynccontextmanager
async def complaining(browser: Browser, complaint: str) -> AsyncIterator[Page]:
    """Return a page that complains of just this, once."""
    context = await browser.new_context()
    watch = Watch(context)
    try:
        yield await context.new_page()
        assert [complaint in each for each in watch.complaints] == [True]
    finally:
        await context.close()


async def test_who_cancels_there_is_told_and_may_try_again(crossroads: Crossroads, new_context: NewContext) -> None:
    page = await open_page(new_context)
    sub = crossroads.at_google(crossroads.new_email())
    await leave_demo(page, crossroads)
    await press(page, "google")
    await page.get_by_role("button", name="Cancel").click()
    await heading(page, "You said no there")
    await page.get_by_role("link", name="Try again").click()
    await press(page, "google")
    await browse_npm(page, sub)
    await allow(page)
    await heading(page, GREETING)


async def test_an_answer_counts_once_and_who_is_signed_in_stays_so(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    page = await open_page(new_context)
    callbacks: list[str] = []
    page.on("request", lambda request: callbacks.append(request.url) if is_callback(request) else None)
    email = crossroads.new_email()
    sub = crossroads.at_google(email)
    await page.goto(f"{crossroads.issuer}/login")
    await press(page, "google")
    await browse_npm(page, sub)
    await expect(page.get_by_text("Signed in as")).to_contain_text(email)
    (callback,) = callbacks
    # Back over the provider's page to the sign-in page, which has nothing to ask any more.
    await page.go_back()
    await page.go_back()
    await expect(page.get_by_text("Signed in as")).to_contain_text(email)
    await page.goto(callback)
    await heading(page, LOST)
    await page.goto(crossroads.issuer)
    await expect(page.get_by_text("Signed in as")).to_contain_text(email)


def is_callback(request: Request) -> bool:
    return urlsplit(request.url).path == "/login/google/callback"


async def test_two_tabs_may_be_on_their_way_at_once(crossroads: Crossroads, new_context: NewContext) -> None:
    first = await open_page(new_context)
    second = await first.context.new_page()
    sub = crossroads.at_google(crossroads.new_email())
    for page, path in ((first, "/account/linked"), (second, "/account/labs")):
        await page.goto(f"{crossroads.issuer}/login?next={path}")
        await press(page, "google")
        await heading(page, "Sign in at the upstream")
    await browse_npm(first, sub)
    await heading(first, "Connected accounts")
    await browse_npm(second, sub)
    await heading(second, "Your labs")
    await first.reload()
    await heading(first, "Connected accounts")


async def test_an_answer_that_another_browser_fetched_signs_nobody_in(
    crossroads: Crossroads, new_context: NewContext
) -> None:
    mine, theirs = await open_page(new_context), await open_page(new_context)
    sub = crossroads.at_google(crossroads.new_email())
    await mine.goto(f"{crossroads.issuer}/login")
    async with mine.expect_request(f"{crossroads.google.issuer}/auth?*") as departure:
        await press(mine, "google")
    async with upstream_http() as http:
        callback = await walk_npm(http, (await departure.value).url, sub)
    await theirs.goto(f"{crossroads.issuer}/login")
    await theirs.goto(callback)
    await heading(theirs, LOST)
    await theirs.goto(crossroads.issuer)
    await expect(theirs.get_by_role("link", name="Sign in")).to_be_visible()


# ── Signing out ─────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_who_signs_out_here_is_led_to_sign_out_there_too(crossroads: Crossroads, new_context: NewContext) -> None:
    page = await open_page(new_context)
    sub = crossroads.at_google(crossroads.new_email())
    await page.goto(f"{crossroads.issuer}/login")
    await press(page, "google")
    await browse_npm(page, sub)
    await page.get_by_role("link", name="Sign out").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You are still signed in at Google.")).to_be_visible()
    await page.get_by_role("link", name="Sign out there too").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{crossroads.issuer}/logout/done*")
    await heading(page, "You are signed out")
