"""The providers' page of the administration in Chromium: what was found out is in view, and addresses stay readable."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Crossroads, NewContext
from tests.support.browser import fill_in_login
from tests.support.server import ADMIN

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Where a line ends in the text of an element: the last character of each line but the last.
LINE_ENDS = """code => {
  const ends = [], range = document.createRange();
  let last = null;
  for (const node of [...code.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)) {
    for (let at = 0; at < node.length; at++) {
      range.setStart(node, at);
      range.setEnd(node, at + 1);
      const top = range.getBoundingClientRect().top;
      if (last && top > last.top + 1) ends.push(last.mark);
      last = {top, mark: node.data[at]};
    }
  }
  return ends;
}"""


async def providers_page(crossroads: Crossroads, new_context: NewContext) -> Page:
    """Open the page as an administrator does, by the link on the first page."""
    context, _ = await new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    await page.goto(f"{crossroads.issuer}/login")
    await fill_in_login(page, ADMIN)
    await page.get_by_role("link", name="Sign-in providers").click()
    await expect(page.get_by_role("heading", name="Sign-in providers")).to_be_visible()
    return page


@pytest.mark.parametrize("name", ["Campus login", "Google", "Mock"])
async def test_what_the_test_of_a_provider_found_is_in_view(
    crossroads: Crossroads, new_context: NewContext, name: str
) -> None:
    page = await providers_page(crossroads, new_context)
    await page.get_by_role("button", name=f"Test {name}").click()
    section = page.get_by_role("region", name=name)
    await expect(section.get_by_text("of the test failed")).to_be_in_viewport()
    await expect(section.get_by_role("listitem").first).to_be_in_viewport()


@pytest.mark.parametrize("width", [1280, 390])
async def test_addresses_break_behind_slashes_only(crossroads: Crossroads, new_context: NewContext, width: int) -> None:
    page = await providers_page(crossroads, new_context)
    await page.set_viewport_size({"width": width, "height": 800})
    addresses = await page.locator("dd code").filter(has_text="://").all()
    ends = {mark for address in addresses for mark in await address.evaluate(LINE_ENDS)}
    assert ends == {"/"}
