"""A person who signs in here through another provider, without Chromium: to the provider, and back with its answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import httpx2

from idp.domain.audit import AuditEvent
from idp.domain.provider import Provider
from idp.services.providers import seal_secret
from tests.support.app import App, Browser, Form, Start, _FormParser
from tests.support.clock import FakeClock
from tests.support.evil_provider import EvilProvider
from tests.support.upstreams import upstream_http, walk_at_once

# Drives the provider's pages from an address there, and returns where they lead back to.
Walk = Callable[[httpx2.AsyncClient, str], Awaitable[str]]


def provider_form(page: httpx2.Response, provider: str = "google") -> Form:
    """Return the form that leads to a provider."""
    (form,) = [form for form in _FormParser(page.text).forms if urlsplit(form.action).path == f"/login/{provider}"]
    return form


@dataclass
class Traveller:
    """A browser with cookies here and there."""

    browser: Browser
    walk: Walk = walk_at_once

    @property
    def app(self) -> App:
        return self.browser.app

    async def leave(self, page: httpx2.Response | None = None, provider: str = "google") -> httpx2.Response:
        """Press the provider's button, and return the answer, which leads there."""
        form = provider_form(page or await self.browser.get("/login"), provider)
        self.app.clock.advance(seconds=1)
        headers = {"Origin": self.app.issuer, "Sec-Fetch-Site": "same-origin"}
        return await self.browser.http.post(form.action, data=form.fields, headers=headers)

    async def callback(self, page: httpx2.Response | None = None, provider: str = "google") -> str:
        """Go to the provider, and return the address that it sends the browser back to."""
        left = await self.leave(page, provider)
        assert left.status_code == 303, left.text
        async with upstream_http() as http:
            return await self.walk(http, left.headers["location"])

    async def arrive(self, callback: str) -> httpx2.Response:
        """Open that address, and return the answer itself."""
        parts = urlsplit(callback)
        return await self.browser.http.get(f"{parts.path}?{parts.query}")

    async def sign_in(self, page: httpx2.Response | None = None, provider: str = "google") -> httpx2.Response:
        """Do all of it, and return the page that it leads to."""
        return await self.browser.follow(await self.arrive(await self.callback(page, provider)))


def sent(location: str) -> dict[str, str]:
    """Return the parameters of an address."""
    return dict(parse_qsl(urlsplit(location).query, keep_blank_values=True))


async def start_with_google(start: Start, evil: EvilProvider, clock: FakeClock, **settings: str) -> App:
    """Start a node whose Google is that provider."""
    evil.clock = clock
    usual = {
        "google_client_id": evil.client_id,
        "google_client_secret": evil.client_secret,
        "google_issuer": evil.issuer,
        "outbound_allow": urlsplit(evil.issuer).netloc,
        "registration": "open",
    }
    return await start(**{**usual, **settings})


async def add_provider(app: App, provider: Provider) -> None:
    async with app.store.write() as tx:
        await tx.providers.add(provider)
    app.services["providers"].forget()


def sealed_secret(app: App, name: str, secret: str) -> bytes:
    """Return a client secret as a provider's row holds it."""
    return seal_secret(app.services["providers"]._keys, name, secret)


async def failures(app: App) -> list[AuditEvent]:
    """Return what the audit log says of sign-ins that did not come about."""
    async with app.store.read() as tx:
        events = await tx.audit_events.all()
    return sorted((event for event in events if event.action == "login.failed"), key=lambda event: event.at)
