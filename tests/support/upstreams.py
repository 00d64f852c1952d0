"""Real OpenID providers to sign in at: oidc-provider-mock from PyPI, npm oidc-provider, and a second Lab ID.

Each is a process of its own on `http://localhost:PORT`, tells the machine's time, and ends with its block. The `walk_*`
functions drive their pages over HTTP, the `browse_*` functions in Chromium. `tests.support.evil_provider` and
`tests.support.github` are bent by hand and ask nobody anything: `walk_at_once` is the way through them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

import httpx2
import pytest

from tests.prerequisites import find_node
from tests.support.app import form_of
from tests.support.paths import ROOT
from tests.support.server import (
    PASSWORD,
    START_SECONDS,
    STOP_SECONDS,
    Provider,
    inherited,
    listen,
    provider,
    until,
    url_of,
)

if TYPE_CHECKING:
    # Only the tests in Chromium have to wait until it is loaded.
    from playwright.async_api import BrowserContext, Page, Route

# Where answers may go until `set_redirect_uris` says otherwise.
CALLBACK = "http://localhost/callback"
CLIENT_ID, CLIENT_SECRET = "lab-id", "the-secret-of-lab-id-at-the-upstream"
MAX_STEPS = 12
SCOPE = "openid profile email labs groups offline_access"


class Upstream(Protocol):
    """What the three have in common; `set_user` makes or changes an account."""

    issuer: str
    client_id: str
    client_secret: str

    def set_user(self, sub: str, **claims: Any) -> None: ...

    def set_redirect_uris(self, *uris: str) -> None: ...


@dataclass(frozen=True)
class MockProvider:
    """oidc-provider-mock: no sessions, no `kid`, no PKCE, and by default it knows every client and secret.

    What it tells as `auth_time` is the time of the token request.
    """

    issuer: str
    client_id: str = CLIENT_ID
    client_secret: str = field(default=CLIENT_SECRET, repr=False)

    def set_user(self, sub: str, **claims: Any) -> None:
        _put(f"{self.issuer}/users/{quote(sub, safe='')}", claims)

    def set_redirect_uris(self, *uris: str) -> None:
        """Do nothing: every one is known. `registered` makes a client for which that matters."""

    def registered(self, *redirect_uris: str) -> "MockProvider":
        """Return the provider as seen by a client of its own (RFC 7591), whose secret and addresses are checked."""
        url = f"{self.issuer}/oauth2/clients"
        answer = httpx2.post(url, json={"redirect_uris": redirect_uris}, trust_env=False)
        client = answer.raise_for_status().json()
        return MockProvider(self.issuer, client["client_id"], client["client_secret"])

    def revoke_tokens(self, sub: str) -> None:
        """Let all access and refresh tokens of an account end."""
        url = f"{self.issuer}/users/{quote(sub, safe='')}/revoke-tokens"
        httpx2.post(url, trust_env=False).raise_for_status()


@dataclass(frozen=True)
class NpmProvider:
    """npm oidc-provider 9: sessions, `prompt`, `max_age`, `acr`, `amr`, PKCE for all, `iss` in its answers, logout."""

    issuer: str
    client_id: str = CLIENT_ID
    client_secret: str = field(default=CLIENT_SECRET, repr=False)

    def set_user(self, sub: str, **claims: Any) -> None:
        _put(f"{self.issuer}/accounts/{quote(sub, safe='')}", claims)

    def set_redirect_uris(self, *uris: str) -> None:
        """Set where answers may go; after a logout, people may go there and to the roots of these origins."""
        _put(f"{self.issuer}/redirect_uris", uris)


@dataclass(frozen=True)
class SecondLabId:
    """Lab ID as the upstream of another; accounts are known by their email, and `provider` is all the rest of it."""

    provider: Provider
    client_id: str = CLIENT_ID
    client_secret: str = field(default=CLIENT_SECRET, repr=False)

    @property
    def issuer(self) -> str:
        return self.provider.issuer

    def set_user(self, email: str, **claims: Any) -> None:
        """Make or change the account: members of a user in an apply file (`email_verified`, `name`, …)."""
        self._apply({"users": [{"email": email, "password": PASSWORD, **claims}]})

    def set_redirect_uris(self, *uris: str) -> None:
        """Set where answers may go; a server that used the client before sees it within five seconds."""
        self._apply({"clients": [_client(uris)]})

    def _apply(self, wanted: Mapping[str, Any]) -> None:
        (self.provider.log.parent / "more.yaml").write_text(json.dumps(wanted))
        self.provider.idp("apply", "more.yaml")


@contextmanager
def mock_provider() -> Iterator[MockProvider]:
    """Run oidc-provider-mock, in a process of its own because it lives by what Authlib warns of."""
    with listen() as free:
        issuer = url_of(free)
    port = str(urlsplit(issuer).port)
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", port]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=inherited(), **quiet) as process, _ended(process):
        until(lambda: _answers(process, f"{issuer}/jwks"), seconds=START_SECONDS, what=f"{issuer} answers")
        yield MockProvider(issuer)


@contextmanager
def npm_provider(*, accounts: Mapping[str, Mapping[str, Any]] = {}, conform: bool = True) -> Iterator[NpmProvider]:
    """Run npm oidc-provider with accounts of `sub` → claims; `conform`: what scopes ask for is in UserInfo only.

    That is how OpenID Connect Core §5.4 has it. Google, like many, says all in the ID token: `conform=False`.
    """
    node = find_node()
    assert node is not None, "tests/prerequisites.py test installs Node"
    setup = {"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET, "redirectUris": [CALLBACK]}
    folder = ROOT / "tests" / "relying_parties"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen([node, "upstream.mjs"], cwd=folder, env=dict(os.environ), text=True, **pipes) as process,
        _ended(process),
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        print(json.dumps({**setup, "accounts": accounts, "conform": conform}), file=process.stdin, flush=True)
        issuer = process.stdout.readline().strip()
        assert issuer, "node upstream.mjs ended at once"
        yield NpmProvider(issuer)


@contextmanager
def second_lab_id(
    folder: Path, database_url: str, *, redirect_uris: Sequence[str] = (), settings: Mapping[str, str] = {}
) -> Iterator[SecondLabId]:
    """Run Lab ID with one client, the Lab ID that is tested."""
    client = _client(redirect_uris or [CALLBACK])
    with provider(folder, database_url, clients=[client], settings=settings) as running:
        yield SecondLabId(running)


@pytest.fixture(scope="session")
def mock() -> Iterator[MockProvider]:
    with mock_provider() as running:
        yield running


@pytest.fixture(scope="session")
def npm() -> Iterator[NpmProvider]:
    with npm_provider() as running:
        yield running


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondLabId]:
    folder = tmp_path_factory.mktemp("second")
    with second_lab_id(folder, f"sqlite:///{folder / 'idp.db'}") as running:
        yield running


def upstream_http() -> httpx2.AsyncClient:
    """Return what keeps somebody's cookies at upstreams; the caller closes it."""
    return httpx2.AsyncClient(trust_env=False, timeout=30)


async def walk_at_once(http: httpx2.AsyncClient, url: str) -> str:
    """Return the callback to which the provider redirects, without having asked anything."""
    return _callback(await http.get(url))


async def walk_mock(http: httpx2.AsyncClient, url: str, sub: str | None) -> str:
    """Sign in as `sub`, which makes the account when there is none, or deny when there is no `sub`."""
    page = await http.get(url)
    assert page.status_code == 200, page.text
    return _callback(await http.post(url, data={"action": "deny"} if sub is None else {"sub": sub}))


async def walk_npm(
    http: httpx2.AsyncClient, url: str, sub: str | None, *, acr: str = "", amr: Sequence[str] = ()
) -> str:
    """Sign in as `sub` in the way that `acr` and `amr` tell, or cancel; a silent answer has no need of `sub`."""
    filled_in = {"account": sub or "", "acr": acr, "amr": " ".join(amr), "decision": "allow" if sub else "deny"}
    here = urlsplit(url).netloc
    response = await http.get(url)
    for _ in range(MAX_STEPS):
        if response.is_redirect:
            url = urljoin(url, response.headers["location"])
            if urlsplit(url).netloc != here:
                return url
            response = await http.get(url)
        elif urlsplit(url).path.startswith("/interaction/"):
            response = await http.post(url, data=filled_in)
        else:
            # Somebody else was signed in: a form that sends itself ends that session.
            form = form_of(response)
            url = urljoin(url, form.action)
            response = await http.post(url, data=form.fields)
    raise AssertionError(f"the upstream asks again and again, last at {url}")


async def leave_npm(http: httpx2.AsyncClient, url: str) -> str:
    """Sign out where an application sent somebody (RP-Initiated Logout §2), and return where that leads."""
    page = await http.get(url)
    form = form_of(page)
    return _callback(await http.post(urljoin(url, form.action), data={**form.fields, "logout": "yes"}))


async def walk_second_lab_id(http: httpx2.AsyncClient, url: str, email: str | None, *, password: str = PASSWORD) -> str:
    """Sign in and allow what is asked for, as far as that is needed; without an email the answer is no."""
    here = urlsplit(url)
    response = await http.get(url)
    for _ in range(MAX_STEPS):
        if response.is_redirect:
            url = urljoin(url, response.headers["location"])
            if urlsplit(url).netloc != here.netloc:
                return url
            response = await http.get(url)
            continue
        form = form_of(response, *({"username"} if urlsplit(url).path == "/login" else {"decision"}))
        allowed = {"decision": "deny" if email is None else "allow"}
        answer = {"username": email or "", "password": password} if "username" in form.names else allowed
        headers = {"Origin": f"{here.scheme}://{here.netloc}", "Sec-Fetch-Site": "same-origin"}
        url = urljoin(url, form.action)
        response = await http.post(url, data={**form.fields, **answer}, headers=headers)
        assert response.is_redirect, response.text
    raise AssertionError(f"the upstream asks again and again, last at {url}")


async def browse_mock(page: "Page", sub: str) -> None:
    """Sign in on the page at which the browser stands; `offline` must be in force for its context."""
    await page.get_by_placeholder("sub").fill(sub)
    await page.get_by_role("button", name="Authorize", exact=True).click()


async def browse_npm(page: "Page", sub: str, *, acr: str = "", amr: Sequence[str] = ()) -> None:
    for label, value in {"Account": sub, "Class": acr, "Methods": " ".join(amr)}.items():
        await page.get_by_label(label).fill(value)
    await page.get_by_role("button", name="Continue").click()


async def browse_second_lab_id(page: "Page", email: str, *, password: str = PASSWORD) -> None:
    """Sign in and, where it is asked for, allow."""
    from tests.support.browser import fill_in_login

    here = urlsplit(page.url)
    origin = f"{here.scheme}://{here.netloc}"
    await fill_in_login(page, email, password)
    await page.wait_for_url(lambda url: not url.startswith(f"{origin}/login"))
    if page.url.startswith(f"{origin}/"):
        await page.get_by_role("button", name="Allow", exact=True).click()


async def offline(context: "BrowserContext") -> None:
    """Answer what pages want from anywhere but this machine with nothing: the mock's style sheet is on the Internet."""

    async def answer(route: "Route") -> None:
        if urlsplit(route.request.url).hostname == "localhost":
            await route.fallback()
        else:
            await route.fulfill(status=200, content_type="text/css", body="")

    await context.route("**/*", answer)


def _client(redirect_uris: Sequence[str]) -> dict[str, Any]:
    return {
        "client_id": CLIENT_ID,
        "client_name": "Another Lab ID",
        "client_secret": CLIENT_SECRET,
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": SCOPE,
        "allowed_labs": "*",
    }


@contextmanager
def _ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """End the process with the block, whether it wants to or not."""
    try:
        yield
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
    finally:
        process.kill()


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    assert process.poll() is None, f"the provider for {url} ended at once"
    try:
        return httpx2.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def _put(url: str, content: Any) -> None:
    httpx2.put(url, json=content, trust_env=False).raise_for_status()


def _callback(response: httpx2.Response) -> str:
    assert response.is_redirect, f"{response.status_code} {response.text[:2000]}"
    return response.headers["location"]
