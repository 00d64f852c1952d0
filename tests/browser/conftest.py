"""Lab ID, the demo application and a Chromium, once for all tests here; every test has a browser profile of its own.

The tests share one event loop, because the browser belongs to it.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, replace
from html import escape
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from idp.demo.relying_party import create_relying_party
from tests.support import server
from tests.support.browser import Watch, chromium
from tests.support.github import GitHub, github
from tests.support.server import Provider, listen, provider, served, url_of
from tests.support.upstreams import (
    MockProvider,
    NpmProvider,
    SecondLabId,
    mock_provider,
    npm_provider,
    second_lab_id,
)

PATIENCE_MS = 20_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let one process run all tests among the providers: it takes long to start them."""
    for item in items:
        if "crossroads" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("crossroads"))


@dataclass(frozen=True)
class World:
    """The provider, the demo application, and an application that sends people on to a third origin."""

    provider: Provider
    demo_url: str
    relay_url: str
    elsewhere_url: str


@dataclass(frozen=True)
class Crossroads:
    """A Lab ID where people sign in through others too, and those others.

    `google` is npm oidc-provider, `campus` another Lab ID, `mock` and `orcid` are oidc-provider-mock; one more is down.
    `application` is the callback of one that asks for no consent, and `numbers` tells people apart.
    """

    provider: Provider
    demo_url: str
    application: str
    google: NpmProvider
    campus: SecondLabId
    mock: MockProvider
    orcid: MockProvider
    github: GitHub
    numbers: Iterator[int]

    @property
    def issuer(self) -> str:
        return self.provider.issuer

    def at_google(self, email: str, **claims: Any) -> str:
        """Let somebody have an account there with this verified address, and return its name."""
        sub = claims.pop("sub", None) or f"person-{next(self.numbers)}"
        self.google.set_user(sub, email=email, email_verified=True, name="Nora Newcomer", **claims)
        return sub

    def at_github(self, email: str) -> None:
        """Let somebody be signed in there, who has this verified address."""
        self.github.reset()
        self.github.user |= {"id": 1000 + next(self.numbers), "name": "Nora Newcomer"}
        self.github.emails = [{"email": email, "verified": True, "primary": True, "visibility": "private"}]

    def new_email(self) -> str:
        """Return an address that nobody has here."""
        return f"newcomer-{next(self.numbers)}@example.org"

    def authorization(self, **more: str) -> str:
        query = {"client_id": "plain", "redirect_uri": self.application, "response_type": "code", "scope": "openid"}
        return f"{self.issuer}/authorize?{urlencode({**query, **more})}"


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
        running = stack.enter_context(
            provider(
                folder,
                f"sqlite:///{folder / 'idp.db'}",
                clients=clients,
                settings={"IDP_REGISTRATION": "open"},
            )
        )
        demo_app = create_relying_party(issuer=running.issuer, port=demo.getsockname()[1])
        stack.enter_context(served(demo_app, demo))
        stack.enter_context(served(_relay(f"{elsewhere_url}/landed"), relay))
        stack.enter_context(served(_elsewhere(), elsewhere))
        yield World(running, demo_url, relay_url, elsewhere_url)


@pytest.fixture(scope="session")
def crossroads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossroads]:
    folder = tmp_path_factory.mktemp("crossroads")
    with ExitStack() as stack:
        demo, plain = (stack.enter_context(listen()) for _ in range(2))
        demo_url, application = url_of(demo), f"{url_of(plain)}/landed"
        # Google tells all in the ID token.
        npm = stack.enter_context(npm_provider(conform=False))
        # An issuer is one provider only.
        mock, orcid = (stack.enter_context(mock_provider()) for _ in range(2))
        hub = stack.enter_context(github())
        campus = stack.enter_context(_campus(tmp_path_factory.mktemp("campus")))
        with listen() as nobody:
            closed = url_of(nobody)
        settings = {
            "IDP_GOOGLE_CLIENT_ID": npm.client_id,
            "IDP_GOOGLE_CLIENT_SECRET": npm.client_secret,
            "IDP_GOOGLE_ISSUER": npm.issuer,
            "IDP_REGISTRATION": "open",
            "IDP_OUTBOUND_ALLOW": ",".join(
                urlsplit(url).netloc
                for url in (npm.issuer, mock.issuer, orcid.issuer, hub.issuer, campus.issuer, closed)
            ),
        }
        clients = [
            _client("demo", "Demo application", demo_url)
            | {"scope": "openid profile email labs groups offline_access"},
            _client("plain", "Plain", url_of(plain))
            | {"redirect_uris": [application], "require_pkce": False, "trusted": True},
        ]
        database = f"sqlite:///{folder / 'idp.db'}"
        running = stack.enter_context(provider(folder, database, clients=clients, settings=settings))
        others = [
            {"name": "campus", "display_name": "Campus login", **_as_client_of(campus)},
            {"name": "mock", "display_name": "Mock", **_as_client_of(mock)},
            {"name": "github", "kind": "github", **_as_client_of(hub)},
            {"name": "orcid", "kind": "orcid", **_as_client_of(orcid), "client_id": "lab-id-at-orcid"},
            {"name": "closed", "display_name": "Closed", **_as_client_of(mock), "issuer": closed},
        ]
        (folder / "providers.yaml").write_text(json.dumps({"providers": others}))
        running.idp("apply", "providers.yaml")
        npm.set_redirect_uris(f"{running.issuer}/login/google/callback", f"{running.issuer}/logout/done")
        campus.set_redirect_uris(f"{running.issuer}/login/campus/callback")
        demo_app = create_relying_party(issuer=running.issuer, port=demo.getsockname()[1])
        stack.enter_context(served(demo_app, demo))
        stack.enter_context(served(_elsewhere(), plain))
        yield Crossroads(running, demo_url, application, npm, campus, mock, orcid, hub, count())


@contextmanager
def _campus(folder: Path) -> Iterator[SecondLabId]:
    """Run another Lab ID at 127.0.0.1: browsers keep one jar of cookies for all ports of `localhost`."""
    with listen() as free:
        port = free.getsockname()[1]
    issuer, database = f"http://127.0.0.1:{port}", f"sqlite:///{folder / 'idp.db'}"
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(server, "_free_port", lambda: port)
            settings = {"IDP_ISSUER": issuer, "IDP_SERVICE_NAME": "Campus"}
            campus = stack.enter_context(second_lab_id(folder, database, settings=settings))
        yield replace(campus, provider=replace(campus.provider, issuer=issuer))


def _as_client_of(upstream: MockProvider | SecondLabId | GitHub) -> dict[str, str]:
    return {"issuer": upstream.issuer, "client_id": upstream.client_id, "client_secret": upstream.client_secret}


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
