"""A browser just able to sign the benchmark's users in, so that there are tokens to measure with."""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2
from contestants import CALLBACK, CLIENT, PASSWORD
from load import brief
from machine import BenchError
from servers import Server

MAX_HOPS = 10


class Browser:
    """One user's; keeps its cookies, so that only the first authorization meets the login form."""

    def __init__(self, server: Server, email: str) -> None:
        self.server = server
        self.email = email
        self.http = httpx2.Client(follow_redirects=False, timeout=30)

    def tokens(self, scope: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Obtain tokens by the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636)."""
        verifier = secrets.token_urlsafe(32)
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        request = {
            "client_id": CLIENT["client_id"],
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": scope,
            "login_hint": self.email,
            "state": secrets.token_urlsafe(16),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **self.server.contestant.authorization_params,
            **(params or {}),
        }
        code = self._code(f"{self.server.discovery['authorization_endpoint']}?{urlencode(request)}")
        answer = self.http.post(
            self.server.discovery["token_endpoint"],
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": CALLBACK,
                "code_verifier": verifier,
            },
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

    def _code(self, url: str) -> str:
        response = self.http.get(url)
        for _ in range(MAX_HOPS):
            if response.is_redirect:
                target = urljoin(str(response.url), response.headers["location"])
                if target.startswith(CALLBACK):
                    query = parse_qs(urlsplit(target).query)
                    if "code" not in query:
                        raise BenchError(f"{self._name}: the authorization was refused: {query}")
                    return query["code"][0]
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
