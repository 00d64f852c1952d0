"""Signing out in a real browser: frames under the strict CSP, the way on with and without scripts, the OP iframe."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.browser.conftest import NewContext
from tests.support.browser import axe, fill_in_login, is_wider_than_the_window
from tests.support.server import Provider, listen, provider, served, url_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATE = "a state & more"
HEAD = '<!doctype html><html lang="en"><title>Application</title><link rel="icon" href="data:,">'
# What an application keeps in the browser; its frame cleans up, which takes scripts and its own storage.
SIGNED_IN = HEAD + "<h1>Signed in</h1><script>localStorage.setItem('user', 'somebody')</script>"
CLEAN_UP = HEAD + "<script>localStorage.removeItem('user')</script>"
LOOK = HEAD + "<h1></h1><script>document.querySelector('h1').textContent = localStorage.getItem('user')</script>"
GOODBYE = HEAD + "<h1>Goodbye</h1>"
# The RP iframe of Session Management §3.1, with a page around it that shows every answer.
WATCH = (
    HEAD
    + """<h1>Watching</h1><iframe id="op" src="%s" title="provider"></iframe><pre></pre>
<script>
const provider = document.getElementById("op");
window.addEventListener("message", (event) => {
  if (event.source === provider.contentWindow && event.origin === new URL(provider.src).origin) {
    document.querySelector("pre").textContent += event.data + ";";
  }
});
const ask = (message) => provider.contentWindow.postMessage(message, new URL(provider.src).origin);
</script>"""
)


@dataclass
class Application:
    """A relying party on an origin of its own; `hangs` keeps its frame from loading until it is set free."""

    client_id: str
    url: str
    told: list[dict[str, str]] = field(default_factory=list)
    hangs: bool = False
    free: Event = field(default_factory=Event)

    def app(self, issuer: str) -> Starlette:
        async def out(request: Request) -> Response:
            self.told.append(dict(request.query_params))
            if self.hangs:
                await asyncio.to_thread(self.free.wait, 30)
            return HTMLResponse(CLEAN_UP)

        def page(text: str) -> Any:
            async def show(request: Request) -> Response:
                return HTMLResponse(text)

            return show

        pages = {
            "/callback": SIGNED_IN,
            "/look": LOOK,
            "/goodbye": GOODBYE,
            "/watch": WATCH % f"{issuer}/check_session",
        }
        return Starlette(routes=[Route("/out", out), *(Route(path, page(text)) for path, text in pages.items())])

    def metadata(self) -> dict[str, Any]:
        return {
            "client_id": self.client_id,
            "client_name": self.client_id.title(),
            "client_secret": f"{self.client_id}-secret",
            "redirect_uris": [f"{self.url}/callback"],
            "post_logout_redirect_uris": [f"{self.url}/goodbye"],
            "frontchannel_logout_uri": f"{self.url}/out",
            "scope": "openid",
            "require_pkce": False,
            "trusted": True,
        }


@dataclass
class Sites:
    provider: Provider
    first: Application
    second: Application

    def authorization(self, application: Application, **more: str) -> str:
        query = {
            "client_id": application.client_id,
            "redirect_uri": f"{application.url}/callback",
            "response_type": "code",
            "scope": "openid",
            **more,
        }
        return f"{self.provider.issuer}/authorize?{urlencode(query)}"

    def logout(self, **params: str) -> str:
        return f"{self.provider.issuer}/logout?{urlencode(params)}"

    async def sign_in(self, page: Page) -> str:
        """Sign in to both applications; return the ID token of the first one."""
        await page.goto(self.authorization(self.first))
        await fill_in_login(page, self.provider.new_person())
        await page.wait_for_url(f"{self.first.url}/callback?*")
        (code,) = parse_qs(urlsplit(page.url).query)["code"]
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(
                f"{self.provider.issuer}/token",
                data={"grant_type": "authorization_code", "code": code, "redirect_uri": f"{self.first.url}/callback"},
                auth=(self.first.client_id, f"{self.first.client_id}-secret"),
            )
        await page.goto(self.authorization(self.second))
        await page.wait_for_url(f"{self.second.url}/callback?*")
        return str(answer.json()["id_token"])

    async def who(self, page: Page, application: Application) -> str:
        """Return whom the application holds for signed in, by what it keeps in the browser."""
        await page.goto(f"{application.url}/look")
        return await page.locator("h1").inner_text()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    folder = tmp_path_factory.mktemp("logout")
    with ExitStack() as stack:
        sockets = [stack.enter_context(listen()) for _ in range(2)]
        applications = [
            Application(name, url_of(socket)) for name, socket in zip(("first", "second"), sockets, strict=True)
        ]
        clients = [application.metadata() for application in applications]
        lab_id = stack.enter_context(provider(folder, f"sqlite:///{folder / 'idp.db'}", clients=clients))
        for application, socket in zip(applications, sockets, strict=True):
            stack.enter_context(served(application.app(lab_id.issuer), socket))
        yield Sites(lab_id, *applications)


@pytest.fixture
def sites(running: Sites) -> Iterator[Sites]:
    yield running
    for application in (running.first, running.second):
        application.free.set()
        application.told.clear()
        application.hangs, application.free = False, Event()


@pytest_asyncio.fixture(loop_scope="session")
async def context(new_context: NewContext) -> AsyncIterator[BrowserContext]:
    context, _ = await new_context()
    yield context


async def test_frames_sign_out_of_every_application_and_the_browser_goes_on_with_the_state(
    sites: Sites, context: BrowserContext
) -> None:
    page = await context.new_page()
    hint = await sites.sign_in(page)
    assert [await sites.who(page, application) for application in (sites.first, sites.second)] == ["somebody"] * 2

    goodbye = f"{sites.first.url}/goodbye"
    await page.goto(sites.logout(id_token_hint=hint, post_logout_redirect_uri=goodbye, state=STATE))

    await expect(page.get_by_role("heading", name="Goodbye")).to_be_visible()
    assert page.url == f"{goodbye}?{urlencode({'state': STATE})}"
    told = [application.told for application in (sites.first, sites.second)]
    assert told[0] == told[1] == [{"iss": sites.provider.issuer, "sid": told[0][0]["sid"]}]
    assert [await sites.who(page, application) for application in (sites.first, sites.second)] == ["", ""]


async def test_the_page_on_the_way_is_not_found_again_by_going_back(sites: Sites, context: BrowserContext) -> None:
    page = await context.new_page()
    hint = await sites.sign_in(page)
    before = page.url
    goodbye = f"{sites.first.url}/goodbye"
    await page.goto(sites.logout(id_token_hint=hint, post_logout_redirect_uri=goodbye))
    await expect(page.get_by_role("heading", name="Goodbye")).to_be_visible()

    await page.go_back()

    await expect(page).to_have_url(before)


async def test_an_application_that_hangs_keeps_nobody_waiting_for_long(sites: Sites, context: BrowserContext) -> None:
    page = await context.new_page()
    hint = await sites.sign_in(page)
    sites.second.hangs = True

    goodbye = f"{sites.first.url}/goodbye"
    await page.goto(sites.logout(id_token_hint=hint, post_logout_redirect_uri=goodbye), wait_until="commit")

    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    await expect(page.get_by_role("heading", name="Goodbye")).to_be_visible()
    assert [len(application.told) for application in (sites.first, sites.second)] == [1, 1]


async def test_who_is_asked_first_sees_which_applications_are_told(sites: Sites, context: BrowserContext) -> None:
    page = await context.new_page()
    await sites.sign_in(page)

    await page.goto(sites.logout(client_id="first", post_logout_redirect_uri=f"{sites.first.url}/goodbye"))
    await page.get_by_role("button", name="Sign out").click()

    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    await expect(page.get_by_role("listitem")).to_have_text(["First", "Second"])
    await page.wait_for_load_state("load")  # the frames as well
    assert [len(application.told) for application in (sites.first, sites.second)] == [1, 1]
    assert page.url.startswith(sites.provider.issuer)
    await page.get_by_role("link", name="Continue to First").click()
    await expect(page.get_by_role("heading", name="Goodbye")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_with_frames_is_accessible_and_narrow_enough(
    sites: Sites, new_context: NewContext, width: int, scheme: str
) -> None:
    context, _ = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    await sites.sign_in(page)
    await page.goto(sites.logout(client_id="first", post_logout_redirect_uri=f"{sites.first.url}/goodbye"))
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()

    assert not await axe(page)
    assert not await is_wider_than_the_window(page)


@pytest.mark.parametrize("clicks", [True, False])
async def test_without_javascript_the_page_leads_on_too(sites: Sites, new_context: NewContext, clicks: bool) -> None:
    context, _ = await new_context(java_script_enabled=False)
    page = await context.new_page()
    hint = await sites.sign_in(page)

    goodbye = f"{sites.first.url}/goodbye"
    await page.goto(sites.logout(id_token_hint=hint, post_logout_redirect_uri=goodbye, state=STATE))
    if clicks:
        await page.get_by_role("link", name="Continue to First").click()

    await page.wait_for_url(f"{goodbye}?{urlencode({'state': STATE})}")
    assert [len(application.told) for application in (sites.first, sites.second)] == [1, 1]


# ── The OP iframe (Session Management §3) ───────────────────────────────────────────────────────────────────────────
async def watching(sites: Sites, context: BrowserContext) -> tuple[Page, str]:
    """Sign in to the first application and open its page with both frames; return it with its session_state."""
    page = await context.new_page()
    await page.goto(sites.authorization(sites.first))
    await fill_in_login(page, sites.provider.new_person())
    await page.wait_for_url(f"{sites.first.url}/callback?*")
    (session_state,) = parse_qs(urlsplit(page.url).query)["session_state"]
    await page.goto(f"{sites.first.url}/watch")
    return page, session_state


async def answer(page: Page, message: Any) -> str:
    """Ask the provider's frame and return what it answers."""
    before = await page.locator("pre").inner_text()
    await page.evaluate(f"ask({json.dumps(message)})")
    await expect(page.locator("pre")).not_to_have_text(before)
    return (await page.locator("pre").inner_text()).removeprefix(before).rstrip(";")


async def test_the_op_iframe_tells_that_the_sign_in_changed_once_it_has(sites: Sites, context: BrowserContext) -> None:
    page, session_state = await watching(sites, context)
    assert await answer(page, f"first {session_state}") == "unchanged"

    tab = await context.new_page()
    await tab.goto(sites.logout())
    await tab.get_by_role("button", name="Sign out").click()
    await expect(tab.get_by_role("heading", name="You are signed out")).to_be_visible()

    assert await answer(page, f"first {session_state}") == "changed"


async def test_a_new_sign_in_changes_it_as_well(sites: Sites, context: BrowserContext) -> None:
    page, session_state = await watching(sites, context)

    tab = await context.new_page()
    await tab.goto(f"{sites.provider.issuer}/login?add=1")
    await fill_in_login(tab, sites.provider.new_person())
    await expect(tab.get_by_text("Signed in as")).to_be_visible()

    assert await answer(page, f"first {session_state}") == "changed"


async def test_it_answers_for_one_client_at_one_origin_only(sites: Sites, context: BrowserContext) -> None:
    page, session_state = await watching(sites, context)
    assert await answer(page, f"second {session_state}") == "changed"

    await page.goto(f"{sites.second.url}/watch")

    assert await answer(page, f"first {session_state}") == "changed"


@pytest.mark.parametrize(
    "message", ["", "first", "first ", "first hash", "first hash.", " hash.salt", 1, None, {"a": 1}]
)
async def test_a_message_that_is_none_is_an_error(sites: Sites, context: BrowserContext, message: Any) -> None:
    page = await context.new_page()
    await page.goto(f"{sites.first.url}/watch")

    assert await answer(page, message) == "error"


async def test_without_cookies_nothing_is_unchanged(sites: Sites, context: BrowserContext) -> None:
    page, session_state = await watching(sites, context)

    await context.clear_cookies()

    assert await answer(page, f"first {session_state}") == "changed"
