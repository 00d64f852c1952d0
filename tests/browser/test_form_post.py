"""Answers by form (OAuth 2.0 Form Post Response Mode §2) through a real browser, under the pages' CSP."""

from urllib.parse import urlencode

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext, World
from tests.support.browser import axe, fill_in_login, is_wider_than_the_window

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATE = """a state with "quotes" & <tags>"""


async def ask(page: Page, world: World, path: str = "/posted", **more: str) -> None:
    """Arrive with an authorization request that wants its answer posted."""
    query = {
        "client_id": "relay",
        "redirect_uri": world.relay_url + path,
        "response_type": "code",
        "response_mode": "form_post",
        "scope": "openid",
        "state": STATE,
        **more,
    }
    await page.goto(f"{world.provider.issuer}/authorize?{urlencode(query)}")


async def sign_in_and_allow(page: Page, world: World) -> None:
    await fill_in_login(page, world.provider.new_person())
    await page.get_by_role("button", name="Allow", exact=True).click()


async def test_the_answer_is_posted_by_itself_with_nothing_in_any_address(
    world: World, new_context: NewContext
) -> None:
    context, watch = await new_context()
    page = await context.new_page()
    await ask(page, world)
    await sign_in_and_allow(page, world)
    await expect(page.get_by_role("heading", name="Posted")).to_be_visible()
    await expect(page.get_by_text(f"state: {STATE}", exact=True)).to_be_visible()
    await expect(page.get_by_text(f"iss: {world.provider.issuer}", exact=True)).to_be_visible()
    code = (await page.get_by_text("code: ").inner_text()).removeprefix("code: ")
    assert page.url == f"{world.relay_url}/posted"
    (posted,) = [request for request in watch.requests if request.url == page.url]
    assert posted.method == "POST"
    assert not [request.url for request in watch.requests if code in request.url]
    # Nothing tells the application where exactly the person comes from.
    assert "interaction" not in (await posted.all_headers()).get("referer", "")


async def test_a_refusal_is_posted_too(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await ask(page, world, prompt="none")
    await expect(page.get_by_role("heading", name="Posted")).to_be_visible()
    await expect(page.get_by_text("error: login_required", exact=True)).to_be_visible()
    assert page.url == f"{world.relay_url}/posted"


async def test_what_takes_the_form_may_lead_on_to_another_origin(world: World, new_context: NewContext) -> None:
    context, _ = await new_context()
    page = await context.new_page()
    await ask(page, world, "/callback")
    await sign_in_and_allow(page, world)
    await expect(page.get_by_role("heading", name="Landed")).to_be_visible()
    assert page.url == f"{world.elsewhere_url}/landed"


async def test_without_javascript_a_button_posts_it(world: World, new_context: NewContext) -> None:
    context, _ = await new_context(java_script_enabled=False)
    page = await context.new_page()
    await ask(page, world)
    await sign_in_and_allow(page, world)
    await expect(page.get_by_role("heading", name="Back to the application")).to_be_visible()
    assert "state" not in page.url
    await page.get_by_role("button", name=f"Continue to {world.relay_url.removeprefix('http://')}").click()
    await expect(page.get_by_text(f"state: {STATE}", exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_wrong_with_the_page_between(
    width: int, scheme: str, world: World, new_context: NewContext
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    # The page stays as long as its script does nothing.
    await context.route("**/static/form_post.*.js", lambda route: route.fulfill(content_type="text/javascript"))
    page = await context.new_page()
    await ask(page, world, prompt="none")
    await expect(page.get_by_role("heading", name="Back to the application")).to_be_visible()
    assert not await axe(page)
    assert not await is_wider_than_the_window(page)
