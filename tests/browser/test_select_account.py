"""Several accounts in one real browser: choosing, adding and signing out, on the page and on the first page."""

from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext, World
from tests.support.browser import axe, fill_in_login, is_wider_than_the_window

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def two_people(page: Page, world: World) -> tuple[str, str]:
    """Sign two people in, one beside the other; return their addresses."""
    first, second = world.provider.new_person(), world.provider.new_person()
    await page.goto(f"{world.provider.issuer}/login")
    await fill_in_login(page, first)
    await page.get_by_role("link", name="Use another account").click()
    await fill_in_login(page, second)
    await expect(page.get_by_text(f"Signed in as {second}")).to_be_visible()
    return first, second


async def ask(page: Page, world: World, **more: str) -> None:
    query = {
        "client_id": "relay",
        "redirect_uri": f"{world.relay_url}/callback",
        "response_type": "code",
        "scope": "openid",
        "prompt": "select_account",
        **more,
    }
    await page.goto(f"{world.provider.issuer}/authorize?{urlencode(query)}")
    await expect(page.get_by_role("heading", name="Choose an account")).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
async def test_the_chosen_account_goes_on_through_the_application_to_another_origin(
    javascript: bool, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(java_script_enabled=javascript)
    page = await context.new_page()
    first, _ = await two_people(page, world)
    await ask(page, world)
    await page.get_by_role("button", name=first).click()
    await expect(page.get_by_text(f"Signed in as {first}")).to_be_visible()
    await page.get_by_role("button", name="Allow", exact=True).click()
    await expect(page.get_by_role("heading", name="Landed")).to_be_visible()
    # With the consent remembered the choice itself is followed by all the redirects.
    await ask(page, world)
    await page.get_by_role("button", name=first).click()
    await expect(page.get_by_role("heading", name="Landed")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
async def test_an_address_stays_in_one_piece_and_signing_out_moves_below_it(
    width: int, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800})
    page = await context.new_page()
    await two_people(page, world)
    await ask(page, world)
    name = page.locator(".who bdi").first
    await name.evaluate("name => { name.textContent = 'somebody25@example.org' }")
    assert await name.evaluate("name => name.getClientRects().length") == 1
    assert not await is_wider_than_the_window(page)


async def test_another_account_is_added_from_the_list(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await two_people(page, world)
    third = world.provider.new_person()
    await ask(page, world)
    await page.get_by_role("link", name="Use another account").click()
    await expect(page.get_by_label("Email or user name")).to_have_value("")
    await page.get_by_role("link", name="Choose another account").click()
    await page.get_by_role("link", name="Use another account").click()
    await fill_in_login(page, third)
    await expect(page.get_by_text(f"Signed in as {third}")).to_be_visible()
    await page.goto(world.provider.issuer)
    await expect(page.get_by_role("region", name="Also signed in").get_by_role("listitem")).to_have_count(2)


async def test_the_first_page_changes_and_signs_out_accounts(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    first, second = await two_people(page, world)
    others = page.get_by_role("region", name="Also signed in")
    await others.get_by_role("button", name=first).click()
    await expect(page.get_by_text(f"Signed in as {first}")).to_be_visible()
    await others.get_by_role("button", name="Sign out").click()
    await expect(others).to_have_count(0)
    await expect(page.get_by_text(second)).to_have_count(0)
    await expect(page.get_by_text(f"Signed in as {first}")).to_be_visible()


async def test_a_list_that_was_left_open_explains_itself_after_a_change_in_another_tab(
    world: World, new_context: NewContext
) -> None:
    context, _ = await new_context()
    page, other = await context.new_page(), await context.new_page()
    first, second = await two_people(page, world)
    await ask(page, world)
    await other.goto(world.provider.issuer)
    await other.get_by_role("button", name=first).click()
    await expect(other.get_by_text(f"Signed in as {first}")).to_be_visible()
    await page.get_by_role("button", name=second).click()
    await expect(page.get_by_role("alert")).to_contain_text("in another window")
    await page.get_by_role("button", name=second).click()
    await expect(page.get_by_text(f"Signed in as {second}")).to_be_visible()


async def test_the_keyboard_alone_is_enough(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await two_people(page, world)
    await ask(page, world)
    reached = []
    for _ in range(6):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
    assert reached[1:] == ["account", "sign_out", "account", "sign_out", "Use another account"]


async def test_scripts_read_the_state_and_none_of_the_sessions(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await two_people(page, world)
    kept = {cookie["name"]: cookie["value"] for cookie in await context.cookies(world.provider.issuer)}
    assert kept.keys() == {"idp", "idp-accounts", "idp-form", "idp-state"}
    assert await page.evaluate("document.cookie") == f"idp-state={kept['idp-state']}"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_and_nothing_overflows(
    width: int, scheme: str, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    _, second = await two_people(page, world)
    faults, seen = await axe(page), [await is_wider_than_the_window(page)]
    await ask(page, world)
    faults += await axe(page)
    seen.append(await is_wider_than_the_window(page))
    csrf = page.locator("input[name=csrf]")
    await csrf.evaluate("field => field.value = ''")
    await page.get_by_role("button", name=second).click()
    await expect(page.get_by_role("alert")).to_be_visible()
    faults += await axe(page)
    seen.append(await is_wider_than_the_window(page))
    assert (faults, seen) == ([], [False] * 3)
