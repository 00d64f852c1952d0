"""Answers in the fragment (OAuth 2.0 Multiple Response Type Encoding Practices §2.1) through a real browser."""

from urllib.parse import urlencode

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewContext, World
from tests.support.browser import fill_in_login

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("response_type", ["id_token", "code id_token"])
async def test_what_stands_in_the_fragment_reaches_the_applications_script_and_no_server(
    world: World, new_context: NewContext, response_type: str
) -> None:
    context, watch = await new_context()
    page = await context.new_page()
    query = {
        "client_id": "relay",
        "redirect_uri": f"{world.relay_url}/fragment",
        "response_type": response_type,
        "scope": "openid",
        "state": "a state & more",
        "nonce": "a-nonce",
    }
    await page.goto(f"{world.provider.issuer}/authorize?{urlencode(query)}")
    await fill_in_login(page, world.provider.new_person())
    await page.get_by_role("button", name="Allow", exact=True).click()

    await expect(page.get_by_text("state: a state & more", exact=True)).to_be_visible()
    token = (await page.get_by_text("id_token: ").inner_text()).removeprefix("id_token: ")
    assert token.count(".") == 2
    assert page.url.startswith(f"{world.relay_url}/fragment#")
    (asked,) = [request for request in watch.requests if request.url.startswith(f"{world.relay_url}/fragment")]
    assert "?" not in asked.url
