"""What holds for every page: accessible, narrow enough, light on the wire, and quiet in the console."""

from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext, World
from tests.support.browser import axe, fill_in_login, is_wider_than_the_window
from tests.support.server import ADMIN

pytestmark = pytest.mark.asyncio(loop_scope="session")

LAB_PAGES = ("", "/invitations", "/requests", "/services", "/applications", "/settings", "/import")
MOST_BYTES = 100_000
MOST_REQUESTS = 5


async def every_page(page: Page, world: World) -> AsyncIterator[str]:
    """Walk through the pages that people meet; yield the name of each while it is open."""
    issuer, context = world.provider.issuer, page.context
    await page.goto(issuer)
    yield "home"
    await page.goto(f"{issuer}/nowhere")
    yield "not found"
    await page.goto(world.demo_url)
    yield "demo: start"
    await page.get_by_role("button", name="Sign in with Lab ID").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    yield "login"
    await fill_in_login(page, "nobody@example.org")
    await expect(page.get_by_role("alert")).to_be_visible()
    yield "login failed"
    await fill_in_login(page, world.provider.new_person())
    await expect(page.get_by_role("button", name="Don’t allow")).to_be_visible()
    yield "consent"
    await page.get_by_role("button", name="Don’t allow").click()
    await expect(page.get_by_text("access_denied")).to_be_visible()
    yield "demo: refused"
    await page.goto(world.demo_url)
    await page.get_by_role("button", name="Sign in with Lab ID").click()
    await page.get_by_role("button", name="Allow", exact=True).click()
    await expect(page.get_by_role("heading", name="Hello, Person")).to_be_visible()
    yield "demo: account"
    await page.goto(issuer)
    yield "home, signed in"
    await page.get_by_role("link", name="What they may use").click()
    await expect(page.get_by_role("heading", name="Connected applications")).to_be_visible()
    yield "connected applications"
    await page.goto(f"{issuer}/logout")
    yield "confirm logout"
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    yield "signed out"
    await context.clear_cookies()
    await page.goto(world.provider.setup_link())
    yield "setup"
    await page.get_by_label("Email").fill("root@example.org")
    await page.get_by_label("Name").fill("Root")
    await page.get_by_label("Password").fill("short")
    await page.get_by_role("button", name="Create administrator").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    yield "setup refused"
    await page.goto(f"{issuer}/login")
    await fill_in_login(page, ADMIN)
    await expect(page.get_by_text("Signed in as")).to_be_visible()
    for path in ("/account/labs", *(f"/labs/bio{part}" for part in LAB_PAGES)):
        await page.goto(issuer + path)
        yield path
    query = {"client_id": "demo", "redirect_uri": f"{world.demo_url}/elsewhere?with=a&query=of&some=length"}
    await page.goto(f"{issuer}/authorize?{urlencode(query)}")
    yield "error"
    await page.locator("b.nowrap").click()
    await expect(page.get_by_role("heading", name="Why this was refused")).to_be_visible()
    yield "explained"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_on_any_page_and_nothing_overflows(
    width: int, scheme: str, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    faults, seen = [], []
    async for name in every_page(page, world):
        seen.append(name)
        faults += await axe(page)
        if await is_wider_than_the_window(page):
            faults.append(f"{name} is wider than {width} px")
    assert not faults
    assert len(seen) == 17 + len(LAB_PAGES)


async def test_both_colour_schemes_are_there(world: World, new_context: NewContext) -> None:
    colours = set()
    for scheme in ("light", "dark"):
        context, _ = await new_context(color_scheme=scheme)
        page = await context.new_page()
        await page.goto(f"{world.provider.issuer}/login")
        colours.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


async def test_a_cold_page_is_light_and_comes_from_one_host(world: World, new_context: NewContext) -> None:
    visitor, _ = await new_context()
    page = await visitor.new_page()
    heavy = []
    async for name in every_page(page, world):
        if page.url.startswith(f"{world.demo_url}/callback"):
            continue  # an answer is taken once
        heavy += [f"{name}: {reason}" for reason in await excess(page, new_context)]
    assert not heavy


async def excess(page: Page, new_context: NewContext) -> list[str]:
    """Open the page's address with its cookies and an empty cache; return what is beyond the budget."""
    context, watch = await new_context(storage_state={"cookies": await page.context.cookies(), "origins": []})
    await (await context.new_page()).goto(page.url)
    received, requests, hosts = await watch.bytes_received(), len(watch.requests), watch.hosts
    await context.close()
    return [
        *([f"{received} bytes"] if received > MOST_BYTES else []),
        *([f"{requests} requests"] if requests > MOST_REQUESTS else []),
        *([f"hosts {hosts}"] if len(hosts) > 1 else []),
    ]


async def test_the_copied_details_of_an_error_hold_its_reference(world: World, new_context: NewContext) -> None:
    context, _ = await new_context(permissions=["clipboard-read", "clipboard-write"])
    page = await context.new_page()
    await page.goto(f"{world.provider.issuer}/authorize?client_id=unknown")
    await page.get_by_role("button", name="Copy details").click()
    await expect(page.get_by_role("status")).to_have_text("Copied")
    reference = await page.locator("b.nowrap").inner_text()
    assert reference in await page.evaluate("navigator.clipboard.readText()")
    assert reference in world.provider.log.read_text()
