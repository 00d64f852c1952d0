"""What holds for every page: accessible, narrow enough, light on the wire, and quiet in the console."""

import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Crossroads, NewContext, World
from tests.support.browser import axe, fill_in_login, is_wider_than_the_window
from tests.support.post import NEW_PASSWORD
from tests.support.server import ADMIN
from tests.support.upstreams import browse_npm

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
    await page.get_by_role("link", name="Your sign-ins").click()
    await expect(page.get_by_role("heading", name="Your sign-ins")).to_be_visible()
    yield "sign-ins"
    await page.get_by_role("link", name="Your profile").click()
    await page.get_by_label("Date of birth").fill("soon")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    yield "profile refused"
    await page.get_by_role("link", name="Activity").click()
    await expect(page.get_by_role("heading", name="Activity")).to_be_visible()
    yield "activity"
    await page.get_by_role("link", name="Your data").click()
    await expect(page.get_by_role("heading", name="Your data")).to_be_visible()
    yield "data"
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


async def every_page_of_providers(page: Page, crossroads: Crossroads) -> AsyncIterator[str]:
    """Walk through the pages about signing in through others, in the same way."""
    issuer, email = crossroads.issuer, crossroads.provider.new_person()
    sub = crossroads.at_google(email)

    async def to_google(where: str) -> None:
        await page.goto(f"{issuer}/login{where}")
        await page.get_by_role("button", name="Sign in with Google").click()

    await page.goto(f"{issuer}/login")
    yield "login with providers"
    await to_google("")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("heading", name="You said no there")).to_be_visible()
    yield "refused"
    await to_google("?next=/account/linked")
    await browse_npm(page, sub)
    await expect(page.get_by_role("heading", name="You already have an account")).to_be_visible()
    yield "link: prove"
    await page.get_by_role("link", name="Sign in", exact=True).click()
    await fill_in_login(page, email)
    await expect(page.get_by_role("heading", name="Connect Google?")).to_be_visible()
    yield "link: confirm"
    await page.get_by_role("button", name="Connect", exact=True).click()
    await expect(page.get_by_role("heading", name="Connected accounts")).to_be_visible()
    yield "connected accounts"
    for address, button in ((ADMIN, "Continue"), (crossroads.new_email(), "Keep the old one")):
        crossroads.at_google(address, sub=sub)
        await to_google("?add=1")
        await browse_npm(page, sub)
        await expect(page.get_by_role("button", name=button)).to_be_visible()
        yield f"changed address: {button}"
    await page.get_by_role("button", name="Keep the old one").click()
    await page.get_by_role("link", name="Sign out").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign out there too")).to_be_visible()
    yield "signed out here"
    await page.goto(f"{issuer}/logout/done")
    yield "signed out there"
    await page.goto(f"{issuer}/login?next=/admin/providers")
    await fill_in_login(page, ADMIN)
    await expect(page.get_by_role("heading", name="Sign-in providers")).to_be_visible()
    yield "providers"
    await page.get_by_role("button", name="Test Closed").click()
    await expect(page.get_by_text(re.compile("steps? of the test failed"))).to_be_visible()
    yield "providers, tested"


async def every_page_of_mail(page: Page, world: World) -> AsyncIterator[str]:
    """Walk through mailed codes, recovery, sign-up and a changed password, in the same way."""
    provider, issuer, email = world.provider, world.provider.issuer, world.provider.new_person()
    await page.goto(f"{issuer}/login/code")
    yield "code: ask"
    await page.get_by_label("Email").fill(email)
    await page.get_by_role("button", name="Email me a code").click()
    await expect(page.get_by_role("heading", name="Enter the code")).to_be_visible()
    yield "code: enter"
    await page.get_by_label("Code").fill("no code")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    yield "code: wrong"
    await page.get_by_label("Code").fill(await provider.mailed(email, r"^\d{3} \d{3}$"))
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("Signed in as")).to_be_visible()
    await page.goto(f"{issuer}/account/security/password")
    yield "password"
    await page.get_by_label("New password").fill("password1")
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    yield "password refused"
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_role("status")).to_contain_text("Saved.")
    yield "password changed"
    await page.context.clear_cookies()
    await page.goto(f"{issuer}/recover")
    yield "recover"
    await page.get_by_label("Email").fill(email)
    await page.get_by_role("button", name="Email me a link").click()
    await expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    yield "recover: sent"
    link = await provider.mailed(email, r"^http://\S+/recover/\S+$")
    await page.goto(link)
    yield "recover: password"
    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await expect(page.get_by_role("heading", name="Your password is set")).to_be_visible()
    yield "recover: done"
    await page.goto(link)
    yield "link gone"
    email = f"new-{email}"
    await page.goto(f"{issuer}/signup")
    yield "sign up"
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Name").fill("Carol")
    await page.get_by_label("Password").fill("carol")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    yield "sign up: refused"
    await page.get_by_label("Password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    yield "sign up: sent"
    link = await provider.mailed(email, r"^http://\S+/verify-email/\S+$")
    await page.goto(link)
    yield "verify"
    await page.context.clear_cookies()
    await page.goto(link)
    yield "verify elsewhere"
    await page.get_by_label("Password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("heading", name="Your account is ready")).to_be_visible()
    yield "verified elsewhere"
    await page.goto(json.loads(provider.idp("user", "sign-in-link", email, "--json"))["url"])
    yield "sign-in link"
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("Signed in as")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_on_any_page_and_nothing_overflows(
    width: int, scheme: str, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    seen, faults = await faults_of(every_page(page, world), page)
    assert not faults
    assert seen == 21 + len(LAB_PAGES)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_on_any_page_of_providers_and_nothing_overflows(
    width: int, scheme: str, crossroads: Crossroads, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    seen, faults = await faults_of(every_page_of_providers(page, crossroads), page)
    assert not faults
    assert seen == 11


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_on_any_page_of_mail_and_nothing_overflows(
    width: int, scheme: str, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    seen, faults = await faults_of(every_page_of_mail(page, world), page)
    assert not faults
    assert seen == 18


async def test_mailed_codes_recovery_and_sign_up_work_without_javascript(world: World, new_context: NewContext) -> None:
    context, _ = await new_context(java_script_enabled=False)
    page = await context.new_page()
    assert len([name async for name in every_page_of_mail(page, world)]) == 18


async def faults_of(pages: AsyncIterator[str], page: Page) -> tuple[int, list[str]]:
    """Return how many pages there were, and what is wrong with them."""
    seen, faults = 0, []
    async for name in pages:
        seen += 1
        faults += await axe(page)
        if await is_wider_than_the_window(page):
            faults.append(f"{name} is too wide")
    return seen, faults


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


async def test_a_cold_page_of_providers_is_as_light(crossroads: Crossroads, new_context: NewContext) -> None:
    visitor, _ = await new_context()
    page = await visitor.new_page()
    pages = every_page_of_providers(page, crossroads)
    assert not [f"{name}: {reason}" async for name in pages for reason in await excess(page, new_context)]


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
