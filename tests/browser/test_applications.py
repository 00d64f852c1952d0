"""Logos, policy, terms and the page where consent is withdrawn, in a real browser and under the real CSP."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import pytest
from PIL import Image
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tests.browser.conftest import NewContext
from tests.support.browser import axe, fill_in_login, is_wider_than_the_window
from tests.support.server import Provider, listen, provider, served, url_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

START_URI = "https://notebooks.example.org/start?tenant=bio"


@dataclass(frozen=True)
class Notebooks:
    """A provider, and an application that registered itself there with all that it has to say."""

    provider: Provider
    url: str
    client_id: str

    def request(self) -> str:
        query = {
            "client_id": self.client_id,
            "redirect_uri": f"{self.url}/callback",
            "response_type": "code",
            "scope": "openid profile email offline_access",
            "prompt": "consent",
        }
        return f"{self.provider.issuer}/authorize?{urlencode(query)}"


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebooks]:
    folder = tmp_path_factory.mktemp("applications")
    with ExitStack() as stack:
        socket = stack.enter_context(listen())
        url = url_of(socket)
        settings = {
            "IDP_DYNAMIC_REGISTRATION": "open",
            "IDP_DYNAMIC_REQUIRE_PKCE": "false",
            "IDP_OUTBOUND_ALLOW": url.removeprefix("http://"),
        }
        database_url = f"sqlite:///{folder / 'idp.db'}"
        running = stack.enter_context(provider(folder, database_url, clients=[], settings=settings))
        stack.enter_context(served(_application(), socket))
        yield Notebooks(running, url, _register(running, url, folder))


def _application() -> Starlette:
    written = BytesIO()
    gradient = Image.linear_gradient("L").resize((300, 200))
    Image.merge("RGB", (gradient, Image.new("L", gradient.size, 90), Image.new("L", gradient.size, 160))).save(
        written, "WEBP"
    )

    async def logo(request: object) -> Response:
        return Response(written.getvalue(), media_type="image/webp")

    async def landed(request: object) -> HTMLResponse:
        return HTMLResponse('<!doctype html><html lang="en"><link rel="icon" href="data:,"><h1>Landed</h1>')

    return Starlette(routes=[Route("/logo", logo), Route("/callback", landed)])


def _register(running: Provider, url: str, folder: Path) -> str:
    metadata = {
        "client_name": "Notebook Hub",
        "redirect_uris": [f"{url}/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid profile email offline_access",
        "client_uri": "https://notebooks.example.org/",
        "logo_uri": f"{url}/logo",
        "policy_uri": "https://notebooks.example.org/privacy",
        "tos_uri": "https://notebooks.example.org/terms",
        "initiate_login_uri": START_URI,
    }
    answer = httpx2.post(f"{running.issuer}/clients", json=metadata, trust_env=False)
    assert answer.status_code == 201, answer.text
    client_id: str = answer.json()["client_id"]
    return client_id


async def see_logo(page: Page) -> None:
    """Come back until the logo is there, which is fetched in the background."""
    logo = page.locator("img.logo")
    for _ in range(100):
        if await logo.count():
            break
        await page.wait_for_timeout(100)
        await page.reload()
    await expect(logo).to_be_visible()
    # It really came, and was not turned away by the policy of the page.
    assert await logo.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [
        120,
        80,
    ]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_an_application_is_shown_with_its_logo_from_the_sign_in_to_the_withdrawal(
    width: int, scheme: str, notebooks: Notebooks, new_context: NewContext
) -> None:
    context, watch = await new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    issuer, faults = notebooks.provider.issuer, []

    async def look() -> None:
        await see_logo(page)
        assert not await is_wider_than_the_window(page)
        faults.extend(await axe(page))

    await page.goto(notebooks.request())
    await look()
    await expect(page.get_by_role("link", name="Privacy policy")).to_be_visible()
    await fill_in_login(page, notebooks.provider.new_person())
    await expect(page.get_by_text("Nobody at Lab ID has checked this application")).to_be_visible()
    await look()
    await expect(page.get_by_text("allowed before")).to_have_count(0)
    await page.get_by_role("button", name="Allow", exact=True).click()
    await expect(page.get_by_role("heading", name="Landed")).to_be_visible()
    await page.goto(notebooks.request())
    await expect(page.get_by_text("allowed before")).to_have_count(4)
    await look()

    await page.goto(issuer)
    # Nobody has checked its name and its logo: here it is known by the host that it leads to.
    await expect(page.get_by_text("Not checked by Lab ID")).to_be_visible()
    await expect(page.locator("img.logo")).to_have_count(0)
    assert not await is_wider_than_the_window(page)
    faults.extend(await axe(page))
    link = page.get_by_role("link", name="notebooks.example.org")
    assert await link.get_attribute("href") == f"{START_URI}&{urlencode({'iss': issuer})}"
    await page.get_by_role("link", name="What they may use").click()
    await expect(page.get_by_role("heading", name="Connected applications")).to_be_visible()
    await look()
    await page.get_by_role("button", name="Withdraw Notebook Hub").click()
    await expect(page.get_by_role("status")).to_contain_text("Done.")
    await expect(page.get_by_text("No application may use your account")).to_be_visible()
    faults.extend(await axe(page))

    assert not faults
    assert watch.hosts == {issuer.removeprefix("http://"), notebooks.url.removeprefix("http://")}
    # The browser asked the application for its callback alone.
    assert {request.url.partition("?")[0] for request in watch.requests if notebooks.url in request.url} == {
        f"{notebooks.url}/callback"
    }


async def test_withdrawing_works_without_scripts(notebooks: Notebooks, new_context: NewContext) -> None:
    context, _ = await new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(notebooks.request())
    await fill_in_login(page, notebooks.provider.new_person())
    await page.get_by_role("button", name="Allow", exact=True).click()
    await expect(page.get_by_role("heading", name="Landed")).to_be_visible()
    await page.goto(f"{notebooks.provider.issuer}/account/apps")
    await page.get_by_role("button", name="Withdraw Notebook Hub").click()
    await expect(page.get_by_text("No application may use your account")).to_be_visible()
