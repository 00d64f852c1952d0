"""Signing in and out through a real browser, and what people do on the way."""

import re
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext, World
from tests.support.browser import fill_in_login
from tests.support.server import ADMIN

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALLOW = "Allow"
LEAVE = "Sign in with Lab ID"


async def login_page(page: Page, world: World) -> None:
    await page.goto(world.demo_url)
    await page.get_by_role("button", name=LEAVE).click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def consent_page(page: Page, world: World) -> None:
    await login_page(page, world)
    await fill_in_login(page, world.provider.new_person())
    await expect(page.get_by_role("heading", name="wants to use your account")).to_be_visible()


async def signed_in(page: Page, world: World) -> None:
    await consent_page(page, world)
    await page.get_by_role("button", name=ALLOW, exact=True).click()
    await expect(page.get_by_role("heading", name="Hello, Person")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_person_signs_in_sees_the_labs_and_signs_out(
    width: int, scheme: str, world: World, new_context: NewContext
) -> None:
    context, watch = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    await consent_page(page, world)
    await expect(page.get_by_label("Biology (you are admin)")).to_be_visible()
    await page.get_by_role("button", name=ALLOW, exact=True).click()
    rows = page.get_by_role("table", name="Your labs").get_by_role("row")
    await expect(rows).to_contain_text(["Lab", "Biology", "Chemistry"])
    await expect(rows.nth(2)).to_contain_text("viewer")
    await expect(rows.nth(2)).to_contain_text("2099-06-30")
    await expect(page.get_by_text('"bio:member"').first).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_have_text("You are signed out, here and at Lab ID.")
    await page.goto(world.provider.issuer)
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert watch.hosts == {url.removeprefix("http://") for url in (world.provider.issuer, world.demo_url)}


async def test_everything_works_without_javascript(world: World, new_context: NewContext) -> None:
    context, _ = await new_context(java_script_enabled=False)
    page = await context.new_page()
    await signed_in(page, world)
    for button in ("Refresh tokens", "Ask UserInfo again"):
        await page.get_by_role("button", name=button).click()
        await expect(page.get_by_role("heading", name="Hello, Person")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("status")).to_contain_text("You are signed out")


async def test_the_keyboard_alone_is_enough(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await page.goto(world.demo_url)
    await tab_to(page, LEAVE)
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Email or user name")).to_be_focused()
    await page.keyboard.type(world.provider.new_person())
    await page.keyboard.press("Tab")
    await page.keyboard.type("correct-horse-battery")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name=ALLOW, exact=True)).to_be_visible()
    await tab_to(page, ALLOW)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Hello, Person")).to_be_visible()


async def tab_to(page: Page, button: str) -> None:
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent.trim()") == button:
            return
    raise AssertionError(f"{button} cannot be reached with Tab")


async def test_the_skip_link_is_first_and_leads_to_the_content(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await page.goto(world.provider.issuer)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("#main$"))


async def test_a_wrong_password_is_said_once_and_can_be_corrected(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await login_page(page, world)
    email = world.provider.new_person()
    await fill_in_login(page, email, "not-the-password")
    await expect(page.get_by_role("alert")).to_contain_text("is not right")
    await expect(page.get_by_label("Email or user name")).to_have_value(email)
    await expect(page.get_by_label("Password")).to_have_value("")
    await expect(page.get_by_label("Password")).to_have_accessible_description(
        await page.get_by_role("alert").inner_text()
    )
    await fill_in_login(page, email)
    await expect(page.get_by_role("button", name=ALLOW, exact=True)).to_be_visible()


async def test_refusing_consent_is_told_to_the_application(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await consent_page(page, world)
    await page.get_by_role("button", name="Don’t allow").click()
    await expect(page.get_by_role("heading", name="You did not allow it")).to_be_visible()
    await expect(page.get_by_text("access_denied")).to_be_visible()
    await page.get_by_role("link", name="Back to the start").click()
    await expect(page.get_by_role("button", name=LEAVE)).to_be_visible()


async def test_a_callback_may_lead_on_to_another_origin(world: World, new_context: NewContext) -> None:
    """Chromium applies `form-action` to the whole chain of redirects after a form, beyond the callback."""
    context, _ = await new_context()
    page = await context.new_page()
    query = {
        "client_id": "relay",
        "redirect_uri": f"{world.relay_url}/callback",
        "response_type": "code",
        "scope": "openid",
        "state": "s",
    }
    url = f"{world.provider.issuer}/authorize?{urlencode(query)}"
    email = world.provider.new_person()
    await page.goto(url)
    await fill_in_login(page, email)
    await page.get_by_role("button", name=ALLOW, exact=True).click()
    await expect(page.get_by_role("heading", name="Landed")).to_be_visible()
    # Once more with the consent remembered: now the sign-in form itself is followed by all the redirects.
    await context.clear_cookies()
    await page.goto(url)
    await fill_in_login(page, email)
    await expect(page.get_by_role("heading", name="Landed")).to_be_visible()
    assert page.url == f"{world.elsewhere_url}/landed"


async def test_going_back_after_signing_in_explains_itself_and_undoes_nothing(
    world: World, new_context: NewContext
) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await signed_in(page, world)
    await page.go_back()
    await expect(page.get_by_role("heading", name="This sign-in has expired")).to_be_visible()
    await page.goto(world.demo_url)
    await expect(page.get_by_role("heading", name="Hello, Person")).to_be_visible()


async def test_two_tabs_may_sign_in_at_once(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    first, second = await context.new_page(), await context.new_page()
    email = world.provider.new_person()
    await login_page(first, world)
    await login_page(second, world)
    await fill_in_login(first, email)
    await first.get_by_role("button", name=ALLOW, exact=True).click()
    await expect(first.get_by_role("heading", name="Hello, Person")).to_be_visible()
    # The form of the second tab is of a time before the session; it is shown anew and then works.
    await fill_in_login(second, email)
    await expect(second.get_by_role("alert")).to_contain_text("try again")
    await fill_in_login(second, email)
    await expect(second.get_by_role("heading", name="Hello, Person")).to_be_visible()
    await first.reload()
    await expect(first.get_by_role("heading", name="Hello, Person")).to_be_visible()


async def test_a_second_application_signs_in_without_asking_for_the_password_again(
    world: World, new_context: NewContext
) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await signed_in(page, world)
    await context.clear_cookies(name="demo")
    await page.goto(world.demo_url)
    await page.get_by_role("button", name=LEAVE).click()
    await expect(page.get_by_role("heading", name="Hello, Person")).to_be_visible()


@pytest.mark.parametrize("is_admin", [True, False])
async def test_an_administrator_sees_how_a_redirect_uri_differs(
    is_admin: bool, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await page.goto(f"{world.provider.issuer}/login")
    await fill_in_login(page, ADMIN if is_admin else world.provider.new_person())
    await expect(page.get_by_text("Signed in as")).to_be_visible()
    registered = f"{world.demo_url}/callback"
    query = {"client_id": "demo", "redirect_uri": f"{registered}-2", "response_type": "code", "scope": "openid"}
    await page.goto(f"{world.provider.issuer}/authorize?{urlencode(query)}")
    await expect(page.get_by_role("heading", name="return address is not registered")).to_be_visible()
    await expect(page.get_by_text(f"{registered}-2")).to_be_visible()
    await expect(page.get_by_text(registered, exact=True)).to_have_count(1 if is_admin else 0)
    assert await page.locator("mark").all_inner_texts() == (["-2"] if is_admin else [])
    assert not await page.get_by_role("link").filter(has_text="callback").count()
