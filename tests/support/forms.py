"""A browser without scripts: it keeps cookies, follows redirects and fills in forms."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urljoin, urlsplit

import httpx2

from tests.support.server import PASSWORD

MAX_REDIRECTS = 15


@dataclass
class Form:
    """A form with what its fields hold, and its buttons: text → (name, value)."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    url: str
    status: int
    text: str
    forms: list[Form]

    def form(self, button: str) -> Form:
        """Return the form that has this button."""
        (form,) = [form for form in self.forms if button in form.buttons]
        return form


class FormBrowser:
    """Stops before an address that begins with `stop_at`: there an application would take over."""

    def __init__(self, *, stop_at: str | None = None) -> None:
        self._stop_at = stop_at
        self._http = httpx2.AsyncClient(trust_env=False, timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    def cookie(self, name: str) -> str | None:
        return self._http.cookies.get(name)

    async def open(self, url: str) -> Page:
        return await self._follow(url, await self._http.get(url)) if not self._stops(url) else Page(url, 0, "", [])

    async def submit(self, page: Page, button: str, **values: str) -> Page:
        """Press a button of the page, its form filled in with `values`."""
        form = page.form(button)
        untouched = [
            (name, value) for name, value in [*form.fields, form.buttons[button]] if name and name not in values
        ]
        url, parts = urljoin(page.url, form.action), urlsplit(page.url)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"{parts.scheme}://{parts.netloc}",
        }
        content = urlencode([*untouched, *values.items()])
        return await self._follow(url, await self._http.post(url, content=content, headers=headers))

    async def sign_in(self, url: str, email: str) -> Page:
        """Open an address and do what it asks for: sign in, and allow."""
        page = await self.open(url)
        return await self.consent(await self.submit(page, "Sign in", username=email, password=PASSWORD))

    async def consent(self, page: Page) -> Page:
        return await self.submit(page, "Allow") if page.forms and "Allow" in page.forms[0].buttons else page

    def _stops(self, url: str) -> bool:
        return self._stop_at is not None and url.startswith(self._stop_at)

    async def _follow(self, url: str, response: httpx2.Response) -> Page:
        for _ in range(MAX_REDIRECTS):
            if response.next_request is None:
                parser = _Parser()
                parser.feed(response.text)
                return Page(url, response.status_code, response.text, parser.forms)
            url = str(response.next_request.url)
            if self._stops(url):
                return Page(url, 0, "", [])
            response = await self._http.get(url)
        raise AssertionError(f"more than {MAX_REDIRECTS} redirects, last to {url}")


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._button: tuple[str, str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert values.get("method") == "post"
            self.forms.append(Form(values.get("action", "")))
        elif tag == "input" and (values.get("type") != "checkbox" or "checked" in values):
            self.forms[-1].fields.append((values["name"], values.get("value", "")))
        elif tag == "button" and values.get("type") != "button":
            self._button = (values.get("name", ""), values.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self.forms[-1].buttons[data.strip()] = self._button

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self._button = None
