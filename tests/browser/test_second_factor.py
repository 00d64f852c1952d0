"""A second factor in a real browser: set up, signed in with, and its pages as accessible and light as the others."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pyotp
import pytest
from playwright.async_api import Page, expect

from idp.domain.clock import system_clock
from tests.browser.conftest import NewContext, World
from tests.browser.test_pages import excess, faults_of
from tests.support.browser import fill_in_login

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def code_of(page: Page) -> pyotp.TOTP:
    """Return the app that the setup page shows the secret of."""
    return pyotp.TOTP((await page.locator("main code").inner_text()).replace(" ", ""))


async def enrol(page: Page, world: World, email: str) -> tuple[pyotp.TOTP, list[str]]:
    await page.goto(f"{world.provider.issuer}/login?next=/account/security/totp")
    await fill_in_login(page, email)
    app = await code_of(page)
    await page.get_by_label("Six digits").fill(app.now())
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    return app, await page.locator("main li code").all_inner_texts()


async def sign_out(page: Page, world: World) -> None:
    await page.goto(f"{world.provider.issuer}/logout")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()


async def every_page_of_second_factors(page: Page, world: World) -> AsyncIterator[str]:
    """Walk through the pages; yield the name of each while it is open."""
    issuer, email = world.provider.issuer, world.provider.new_person()
    await page.goto(f"{issuer}/login?next=/account/security")
    await fill_in_login(page, email)
    await expect(page.get_by_role("heading", name="Security")).to_be_visible()
    yield "security"
    await page.goto(f"{issuer}/login/mfa?next=/account/security")
    yield "nothing to prove yet"
    await page.get_by_role("link", name="Set up an authenticator app").click()
    app = await code_of(page)
    yield "set up"
    await page.get_by_label("Six digits").fill("x")
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    yield "set up refused"
    await page.get_by_label("Six digits").fill(app.now())
    await page.get_by_role("button", name="Turn on").click()
    await expect(page.get_by_role("heading", name="Your recovery codes")).to_be_visible()
    yield "recovery codes"
    await page.get_by_role("link", name="I have kept them").click()
    await expect(page.get_by_text("10 left")).to_be_visible()
    yield "security, protected"
    await sign_out(page, world)
    await page.goto(f"{issuer}/login")
    await fill_in_login(page, email)
    await expect(page.get_by_label("Code from your authenticator app")).to_be_focused()
    yield "second step"
    await page.get_by_label("Code from your authenticator app").fill("x")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_text("I don’t have my device").click()
    yield "second step refused"
    await page.goto(f"{issuer}/login/mfa?pending=gone")
    yield "sign in again"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_on_any_page_of_second_factors_and_nothing_overflows(
    width: int, scheme: str, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    seen, faults = await faults_of(every_page_of_second_factors(page, world), page)
    assert not faults
    assert seen == 9


async def test_a_cold_page_of_second_factors_is_as_light(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    pages = every_page_of_second_factors(page, world)
    assert not [f"{name}: {reason}" async for name in pages for reason in await excess(page, new_context)]


async def test_without_javascript_it_is_set_up_and_asked_for_and_codes_can_be_saved(
    world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(java_script_enabled=False)
    page, email = await context.new_page(), world.provider.new_person()
    app, codes = await enrol(page, world, email)
    async with page.expect_download() as saving:
        await page.get_by_role("link", name="Save as a text file").click()
    saved = (await (await saving.value).path()).read_text()
    assert all(code in saved for code in codes)
    assert (await saving.value).suggested_filename == "recovery-codes.txt"
    await sign_out(page, world)
    await page.goto(world.demo_url)
    await page.get_by_role("button", name="Sign in with Lab ID").click()
    await fill_in_login(page, email)
    # The code of this half minute was used; the next one counts already.
    await page.get_by_label("Code from your authenticator app").fill(app.at(system_clock() + timedelta(seconds=30)))
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("button", name="Allow", exact=True).click()
    await expect(page.get_by_role("heading", name="Hello, Person")).to_be_visible()
    await context.clear_cookies()
    await page.goto(f"{world.provider.issuer}/login")
    await fill_in_login(page, email)
    await page.get_by_text("I don’t have my device").click()
    await page.get_by_label("Recovery code", exact=True).fill(codes[0])
    await page.get_by_role("button", name="Use the recovery code").click()
    await expect(page.get_by_text("Signed in as")).to_be_visible()
