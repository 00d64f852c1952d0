"""A real Chromium, watched: what it fetches, what it complains about, and whether axe-core finds fault."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.prerequisites import find_chromium
from tests.support.paths import ROOT
from tests.support.server import PASSWORD

AXE = ROOT / "tests" / "relying_parties" / "node_modules" / "axe-core" / "axe.min.js"
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
]
# Chromium reports every document that has an error's status, which is what an error page is meant to have.
_EXPECTED = "Failed to load resource: the server responded with a status of 4"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    executable = find_chromium()
    assert executable is not None, "tests/prerequisites.py test installs a Chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            await browser.close()


class Watch:
    """Notes every request and every complaint of the pages of a context."""

    def __init__(self, context: BrowserContext) -> None:
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        context.on("request", lambda request: self.requests.append(request))
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(_EXPECTED):
            self.complaints.append(f"{message.text} ({message.location})")

    @property
    def hosts(self) -> set[str]:
        """Where requests went, without what was inlined."""
        return {urlsplit(request.url).netloc for request in self.requests if not request.url.startswith("data:")}

    async def bytes_received(self) -> int:
        """Return what came over the wire, headers included."""
        total = 0
        for request in self.requests:
            sizes = await request.sizes()
            total += sizes["responseHeadersSize"] + sizes["responseBodySize"]
        return total


async def axe(page: Page) -> list[str]:
    """Return what axe-core finds wrong (WCAG 2.2 AA and best practices), as one line each."""
    # Evaluated by the debugger, for which the pages' CSP does not count.
    await page.evaluate(AXE.read_text())
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{page.url}: {violation['id']}: {node['html']}: {node['failureSummary']}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


async def is_wider_than_the_window(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


async def fill_in_login(page: Page, email: str, password: str = PASSWORD) -> None:
    await page.get_by_label("Email or user name").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()
