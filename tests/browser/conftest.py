"""Lab ID, the demo application and a Chromium, once for all tests here; every test has a browser profile of its own.

The tests share one event loop, because the browser belongs to it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qsl

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from idp.demo.relying_party import create_relying_party
from tests.support.browser import Watch, chromium
from tests.support.server import Provider, listen, provider, served, url_of

PATIENCE_MS = 20_000


@dataclass(frozen=True)
class World:
    """The provider, the demo application, and an application that sends people on to a third origin."""

    provider: Provider
    demo_url: str
    relay_url: str
    elsewhere_url: str


NewContext = Callable[..., Awaitable[tuple[BrowserContext, Watch]]]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("provider")
    with ExitStack() as stack:
        demo, relay, elsewhere = (stack.enter_context(listen()) for _ in range(3))
        demo_url, relay_url, elsewhere_url = map(url_of, (demo, relay, elsewhere))
        clients = [
            _client("demo", "Demo application", demo_url)
            | {"scope": "openid profile email labs groups offline_access"},
            _client("relay", "Relay", relay_url)
            | {
                "scope": "openid",
                "require_pkce": False,
                "redirect_uris": [f"{relay_url}/{path}" for path in ("callback", "posted", "fragment")],
                "grant_types": ["authorization_code", "implicit"],
                "response_types": ["code", "id_token", "code id_token"],
            },
        ]
        running = stack.enter_context(provider(folder, f"sqlite:///{folder / 'idp.db'}", clients=clients))
        demo_app = create_relying_party(issuer=running.issuer, port=demo.getsockname()[1])
        stack.enter_context(served(demo_app, demo))
        stack.enter_context(served(_relay(f"{elsewhere_url}/landed"), relay))
        stack.enter_context(served(_elsewhere(), elsewhere))
        yield World(running, demo_url, relay_url, elsewhere_url)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def new_context(browser: Browser) -> AsyncIterator[NewContext]:
    """Make browser profiles; whatever their pages complained about fails the test."""
    async with AsyncExitStack() as stack:
        watches = []

        async def new(**options: Any) -> tuple[BrowserContext, Watch]:
            context = await browser.new_context(**options)
            stack.push_async_callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            watches.append(Watch(context))
            return context, watches[-1]

        yield new
        assert not [complaint for watch in watches for complaint in watch.complaints]


def _client(client_id: str, name: str, url: str) -> dict[str, Any]:
    return {
        "client_id": client_id,
        "client_name": name,
        "client_secret": f"{client_id}-secret",
        "redirect_uris": [f"{url}/callback"],
        "post_logout_redirect_uris": [f"{url}/"],
        "grant_types": ["authorization_code", "refresh_token"],
        "allowed_labs": "*",
    }


def _relay(target: str) -> Starlette:
    async def callback(request: object) -> RedirectResponse:
        return RedirectResponse(target, 302)

    async def posted(request: Request) -> HTMLResponse:
        """Show what a form brought along."""
        fields = parse_qsl((await request.body()).decode(), strict_parsing=True)
        return _page("Posted", *(f"<p>{escape(name)}: {escape(value)}" for name, value in fields))

    async def fragment(request: Request) -> HTMLResponse:
        """Let a script of the application's own show what stands in the fragment."""
        show = "for (const [name, value] of new URLSearchParams(location.hash.slice(1)))"
        show += " document.body.append(Object.assign(document.createElement('p'), {textContent: `${name}: ${value}`}))"
        return _page("Fragment", f"<script>{show}</script>")

    return Starlette(
        routes=[
            Route("/callback", callback, methods=["GET", "POST"]),
            Route("/fragment", fragment),
            Route("/posted", posted, methods=["POST"]),
        ]
    )


def _elsewhere() -> Starlette:
    async def landed(request: object) -> HTMLResponse:
        return _page("Landed")

    return Starlette(routes=[Route("/landed", landed)])


def _page(title: str, *lines: str) -> HTMLResponse:
    head = f'<!doctype html><html lang="en"><title>{title}</title><link rel="icon" href="data:,"><h1>{title}</h1>'
    return HTMLResponse(head + "".join(lines))
