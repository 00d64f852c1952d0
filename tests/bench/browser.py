"""A browser just able to sign the benchmark's users in, so that there are tokens to measure with."""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cached_property
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2
from contestants import CALLBACK, CLIENT, PASSWORD
from load import brief
from machine import BenchError
from servers import Server

MAX_HOPS = 10
# PKCE (RFC 7636); one for all, for nobody is kept out here.
VERIFIER = secrets.token_urlsafe(32)


def authorization_url(server: Server, scope: str, params: Mapping[str, str] | None = None) -> str:
    """Return where an authorization request goes (RFC 6749 §4.1.1)."""
    request = {
        "client_id": CLIENT["client_id"],
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "scope": scope,
        "state": secrets.token_urlsafe(16),
        "code_challenge": urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        **(params or {}),
    }
    return f"{server.discovery['authorization_endpoint']}?{urlencode(request)}"


def exchange(code: str) -> dict[str, str]:
    """Return the token request for a code (RFC 6749 §4.1.3)."""
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}


def code_in(location: str) -> str | None:
    """Return the code with which a redirect leads back to the application; None when it leads elsewhere."""
    query = parse_qs(urlsplit(location).query) if location.startswith(CALLBACK) else {}
    return query["code"][0] if "code" in query else None


class Browser:
    """One user's; keeps its cookies, so that only the first authorization meets the login form."""

    def __init__(self, server: Server, email: str) -> None:
        self.server = server
        self.email = email
        self.http = httpx2.Client(follow_redirects=False, timeout=30)

    def tokens(self, scope: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Obtain tokens by the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636)."""
        own = {"login_hint": self.email, **self.server.contestant.authorization_params, **(params or {})}
        code = self._code(authorization_url(self.server, scope, own))
        answer = self.http.post(
            self.server.discovery["token_endpoint"],
            data=exchange(code),
            auth=(str(CLIENT["client_id"]), str(CLIENT["client_secret"])),
        )
        if answer.status_code != 200:
            raise BenchError(f"{self._name}: the code was refused: {answer.status_code} {brief(answer)}")
        tokens: dict[str, Any] = answer.json()
        return tokens

    def login_form(self) -> tuple[str, dict[str, str]]:
        """Fetch the login page; return where its form goes and its fields, filled in."""
        page = self.http.get(urljoin(self.server.contestant.issuer, "/login"))
        return self._filled_in(page)

    @cached_property
    def cookies(self) -> str:
        """Everything that a signed-in browser sends along with an authorization request."""
        # The first authorization signs in and, where that is asked, gives consent.
        self.tokens("openid profile email offline_access")
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies.jar if cookie.path == "/")

    def _code(self, url: str) -> str:
        response = self.http.get(url)
        for _ in range(MAX_HOPS):
            if response.is_redirect:
                target = urljoin(str(response.url), response.headers["location"])
                if target.startswith(CALLBACK):
                    code = code_in(target)
                    if code is None:
                        raise BenchError(f"{self._name}: the authorization was refused: {target}")
                    return code
                response = self.http.get(target)
            else:
                action, fields = self._filled_in(response)
                response = self.http.post(action, data=fields)
        raise BenchError(f"{self._name}: no code after {MAX_HOPS} redirects, last at {response.url}")

    def _filled_in(self, page: httpx2.Response) -> tuple[str, dict[str, str]]:
        if page.status_code != 200:
            raise BenchError(f"{self._name}: {page.url.path} answered {page.status_code}: {brief(page)}")
        forms = _Forms()
        forms.feed(page.text)
        for form in forms.found:
            kinds = {kind: name for name, (kind, _) in form.fields.items()}
            if "password" in kinds:
                fields = {name: value for name, (kind, value) in form.fields.items() if kind == "hidden"}
                fields[kinds.get("email") or kinds["text"]] = self.email
                fields[kinds["password"]] = PASSWORD
                return urljoin(str(page.url), form.action), fields
        raise BenchError(f"{self._name}: {page.url.path} has no form with a password: {brief(page)}")

    @property
    def _name(self) -> str:
        return self.server.contestant.name


class _Form:
    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, tuple[str, str]] = {}


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(_Form(attributes.get("action", "")))
        elif tag == "input" and self.found and "name" in attributes:
            self.found[-1].fields[attributes["name"]] = (attributes.get("type", "text"), attributes.get("value", ""))
