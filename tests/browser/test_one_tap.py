"""Google's One Tap and its button in a real browser, with a stand-in for Google's script that does what is documented.

The stand-in is what comes from Google's own addresses; its ID tokens are signed by the provider that stands for Google.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect
from playwright.async_api import Route as Asked
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.browser.conftest import NewContext
from tests.support.browser import axe, fill_in_login, is_wider_than_the_window
from tests.support.evil_provider import EvilProvider, evil, evil_server
from tests.support.server import Provider, listen, provider, served, url_of

__all__ = ["evil", "evil_server"]
pytestmark = pytest.mark.asyncio(loop_scope="session")

GOOGLE = "https://accounts.google.com/gsi/"
RENDERED = "iframe[title='Sign in with Google button']"

# Reads the attributes, adds both style sheets, asks Google for its state, draws the button, and posts what comes of it.
CLIENT = """
addEventListener("load", async () => {
  const {client_id, login_uri, nonce, ux_mode} = document.getElementById("g_id_onload").dataset;
  const sheet = document.createElement("style");
  sheet.id = "googleidentityservice_button_styles";
  sheet.setAttribute("nonce", document.querySelector("script[nonce]").nonce);
  sheet.textContent = ".g_id_signin iframe { border: 0; display: block }";
  const link = Object.assign(document.createElement("link"), {rel: "stylesheet", href: "GOOGLEstyle"});
  document.head.append(link, sheet);
  await fetch(`GOOGLEstatus?client_id=${client_id}`);
  const place = document.querySelector(".g_id_signin"), frame = document.createElement("iframe");
  frame.title = "Sign in with Google button";
  frame.width = place.dataset.width;
  frame.height = 40;
  frame.src = `GOOGLEbutton?${new URLSearchParams({...place.dataset, ux_mode})}`;
  place.append(frame);
  addEventListener("message", async (event) => {
    if (event.origin !== "https://accounts.google.com" || event.data !== "chosen") return;
    const token = "twice" + Math.random();
    document.cookie = `g_csrf_token=${token}; path=/`;
    const form = Object.assign(document.createElement("form"), {method: "post", action: login_uri});
    const credential = await window.signed(client_id, nonce);
    const fields = {client_id, credential, select_by: "btn", g_csrf_token: token};
    for (const [name, value] of Object.entries(fields)) {
      form.append(Object.assign(document.createElement("input"), {type: "hidden", name, value}));
    }
    document.body.append(form);
    form.submit();
  });
});
""".replace("GOOGLE", GOOGLE)

# The frame opens the chooser, which answers through its opener.
BUTTON = """<!doctype html><html lang="en"><title>Sign in with Google button</title>
<style>
body { margin: 0 }
button { width: 100%; height: 40px; border: 1px solid #747775; border-radius: 4px; background: #fff; color: #1f1f1f }
.filled_black { background: #131314; border-color: #8e918f; color: #e3e3e3 }
</style>
<main><h1 hidden>Google</h1><button>Sign in with Google</button></main>
<script>
const asked = new URLSearchParams(location.search), button = document.querySelector("button");
button.className = asked.get("theme");
button.onclick = () => open("/gsi/select", "", "popup,width=400,height=500");
onmessage = (event) => parent.postMessage(event.data, "*");
</script>"""
SELECT = """<!doctype html><html lang="en"><title>Choose</title><button>Nora</button>
<script>document.querySelector("button").onclick = () => opener.postMessage("chosen", origin)</script>"""
ANSWERS = {
    "client": ("text/javascript", CLIENT),
    "style": ("text/css", ".g_id_signin { min-height: 40px }"),
    "status": ("application/json", "{}"),
    "button": ("text/html", BUTTON),
    "select": ("text/html", SELECT),
}


class Google:
    """What comes from Google's addresses in one browser; `referrers` is what they were told of the page."""

    def __init__(self, evil: EvilProvider) -> None:
        self.evil = evil
        self.asked: list[str] = []
        self.referrers: set[str | None] = set()

    async def stand_in(self, context: BrowserContext) -> None:
        await context.route(re.compile(f"^{GOOGLE}(client|style|status|button|select)"), self._answer)
        await context.expose_function("signed", self._signed)

    async def _answer(self, route: Asked) -> None:
        name = urlsplit(route.request.url).path.removeprefix("/gsi/")
        headers = await route.request.all_headers()
        self.asked.append(name)
        if not headers.get("referer", "").startswith(GOOGLE):
            self.referrers.add(headers.get("referer"))
        kind, body = ANSWERS[name]
        await route.fulfill(content_type=kind, body=body, headers={"Access-Control-Allow-Origin": "*"})

    def _signed(self, client_id: str, nonce: str) -> str:
        return self.evil.credential(nonce=nonce, aud=client_id, azp=client_id)


@pytest.fixture(scope="session")
def lab(evil_server: EvilProvider, callback: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    folder = tmp_path_factory.mktemp("one-tap")
    settings = {
        "IDP_GOOGLE_CLIENT_ID": evil_server.client_id,
        "IDP_GOOGLE_CLIENT_SECRET": evil_server.client_secret,
        "IDP_GOOGLE_ISSUER": evil_server.issuer,
        "IDP_GOOGLE_ONE_TAP": "true",
        "IDP_OUTBOUND_ALLOW": urlsplit(evil_server.issuer).netloc,
        "IDP_REGISTRATION": "open",
    }
    client = {"client_id": "app", "client_name": "App", "client_secret": "secret-of-the-app", "trusted": True}
    client |= {"redirect_uris": [callback], "require_pkce": False}
    with provider(folder, f"sqlite:///{folder / 'idp.db'}", clients=[client], settings=settings) as running:
        yield running


@pytest.fixture(scope="session")
def callback() -> Iterator[str]:
    """Where an application takes its codes."""

    async def answer(request: object) -> PlainTextResponse:
        return PlainTextResponse("Thank you")

    with listen() as listener, served(Starlette(routes=[Route("/callback", answer)]), listener):
        yield f"{url_of(listener)}/callback"


@pytest.fixture
def nora(evil: EvilProvider) -> str:
    """The address of a newcomer who is signed in at Google."""
    name = token_hex(4)
    evil.user = {"sub": name, "email": f"{name}@newcomers.example", "email_verified": True, "name": "Nora Newcomer"}
    return str(evil.user["email"])


async def choose(page: Page) -> None:
    """Press Google's button, and choose the account in its window."""
    async with page.expect_popup() as opened:
        await page.frame_locator(RENDERED).get_by_role("button").click()
    chooser = await opened.value
    await chooser.get_by_role("button", name="Nora").click()
    # Google's window closes by itself, which playwright takes for a crash while it clicks.
    await chooser.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_googles_own_button_takes_the_place_of_ours_and_signs_a_person_in(
    width: int, scheme: Any, lab: Provider, evil: EvilProvider, nora: str, new_context: NewContext
) -> None:
    context, watch = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    google = Google(evil)
    await google.stand_in(context)
    page = await context.new_page()
    await page.goto(f"{lab.issuer}/login")
    rendered = page.frame_locator(RENDERED).get_by_role("button")
    await expect(rendered).to_be_visible()
    await expect(rendered).to_have_class("filled_black" if scheme == "dark" else "outline")
    await expect(page.locator("button.google")).to_be_hidden()
    place, password = await page.locator(RENDERED).bounding_box(), await page.get_by_label("Password").bounding_box()
    assert place is not None
    assert password is not None
    assert (place["x"], place["width"]) == (password["x"], password["width"])
    assert not await is_wider_than_the_window(page)
    await choose(page)
    await expect(page.get_by_text("Signed in as")).to_contain_text(nora)
    assert {"client", "style", "status", "button", "select"} <= set(google.asked)
    assert watch.hosts == {urlsplit(lab.issuer).netloc, "accounts.google.com"}


async def test_google_is_told_our_origin_and_nothing_of_the_sign_in_it_stands_in(
    lab: Provider, callback: str, evil: EvilProvider, nora: str, new_context: NewContext
) -> None:
    context, _ = await new_context()
    google = Google(evil)
    await google.stand_in(context)
    page = await context.new_page()
    query = {"client_id": "app", "redirect_uri": callback, "response_type": "code", "scope": "openid", "state": "s"}
    await page.goto(f"{lab.issuer}/authorize?{urlencode(query)}")
    assert "interaction=" in page.url
    await choose(page)
    await page.wait_for_url(f"{callback}?*")
    assert "code=" in page.url
    assert google.referrers == {f"{lab.issuer}/"}


async def test_a_browser_that_keeps_googles_script_away_has_our_button(
    lab: Provider, evil: EvilProvider, nora: str, browser: Browser
) -> None:
    context = await browser.new_context()
    try:
        await context.route("https://accounts.google.com/**", lambda route: route.abort())
        page = await context.new_page()
        await page.goto(f"{lab.issuer}/login")
        await page.get_by_role("button", name="Sign in with Google").click()
        await expect(page.get_by_text("Signed in as")).to_contain_text(nora)
    finally:
        await context.close()


async def test_without_scripts_there_is_our_button_alone(lab: Provider, nora: str, new_context: NewContext) -> None:
    context, watch = await new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{lab.issuer}/login")
    await expect(page.locator("#one-tap")).to_be_hidden()
    await page.get_by_role("button", name="Sign in with Google").click()
    await expect(page.get_by_text("Signed in as")).to_contain_text(nora)
    assert "accounts.google.com" not in watch.hosts


async def test_the_password_works_beside_it(lab: Provider, evil: EvilProvider, new_context: NewContext) -> None:
    context, _ = await new_context()
    await Google(evil).stand_in(context)
    page = await context.new_page()
    await page.goto(f"{lab.issuer}/login")
    email = lab.new_person()
    await fill_in_login(page, email)
    await expect(page.get_by_text("Signed in as")).to_contain_text(email)


# What is tried on the page, each as (what is forbidden by the CSP, a script); `nonce` is what the style sheet has.
FORBIDDEN = {
    "another script of Google's": ("script-src-elem", "add('script', {src: 'https://accounts.google.com/other'})"),
    "a script of another host": ("script-src-elem", "add('script', {src: 'https://other.example/gsi/client'})"),
    "an inline script with the nonce": ("script-src-elem", "add('script', {nonce, textContent: 'let a'})"),
    "an inline style without the nonce": ("style-src-elem", "add('style', {textContent: 'a {}'})"),
    "a style of another host": ("style-src-elem", "add('link', {rel: 'stylesheet', href: 'https://other.example/'})"),
    "a style attribute": ("style-src-attr", "document.body.setAttribute('style', 'color: red')"),
    "a frame of another host": ("frame-src", "add('iframe', {src: 'https://other.example/gsi/button'})"),
    "another frame of Google's": ("frame-src", "add('iframe', {src: 'https://accounts.google.com/o/oauth2/auth'})"),
    "a picture of another host": ("img-src", "add('img', {src: 'https://other.example/seen.png'})"),
    "a request to another host": ("connect-src", "fetch('https://other.example/').catch(() => 0)"),
    "another request to Google": ("connect-src", "fetch('https://accounts.google.com/').catch(() => 0)"),
}
_TRY = """new Promise((resolve) => {
  document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective), {once: true});
  const nonce = document.querySelector("script[nonce]").nonce;
  const add = (tag, values) => {
    const element = Object.assign(document.createElement(tag), values);
    if (values.nonce) element.setAttribute("nonce", values.nonce);
    document.body.append(element);
  };
  ATTEMPT
})"""


@asynccontextmanager
async def unwatched(browser: Browser, evil: EvilProvider) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open a page that may complain, and note what of other hosts than ours and Google's documented ones it reached."""
    context = await browser.new_context()
    reached: list[str] = []

    async def answer(route: Asked) -> None:
        reached.append(route.request.url)
        await route.fulfill(body="")

    try:
        await context.route(re.compile("^https://"), answer)
        await Google(evil).stand_in(context)
        yield await context.new_page(), reached
    finally:
        await context.close()


async def test_nothing_but_what_google_documents_is_let_through(
    lab: Provider, evil: EvilProvider, browser: Browser
) -> None:
    async with unwatched(browser, evil) as (page, reached):
        await page.goto(f"{lab.issuer}/login")
        await expect(page.locator(RENDERED)).to_be_visible()
        found = {what: await page.evaluate(_TRY.replace("ATTEMPT", script)) for what, (_, script) in FORBIDDEN.items()}
        assert found == {what: directive for what, (directive, _) in FORBIDDEN.items()}
        assert not reached


async def test_axe_finds_nothing_wrong_with_both_buttons_in_one_place(
    lab: Provider, evil: EvilProvider, browser: Browser
) -> None:
    # axe-core copies style sheets of other hosts into the page, about which the page complains.
    async with unwatched(browser, evil) as (page, _):
        await page.goto(f"{lab.issuer}/login")
        await expect(page.locator(RENDERED)).to_be_visible()
        assert await axe(page) == []


async def test_no_other_page_lets_googles_script_through(lab: Provider, evil: EvilProvider, browser: Browser) -> None:
    attempt = f"add('script', {{src: '{GOOGLE}client'}})"
    script = _TRY.replace("ATTEMPT", attempt).replace('document.querySelector("script[nonce]").nonce', "''")
    async with unwatched(browser, evil) as (page, _):
        for path in ("/", "/login?again=1", "/nowhere"):
            await page.goto(f"{lab.issuer}{path}")
            assert await page.evaluate(script) == "script-src-elem"
            assert await page.locator(RENDERED).count() == 0
