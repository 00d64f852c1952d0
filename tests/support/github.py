"""A stand-in of GitHub: its OAuth for applications and the two addresses of its REST API that tell who somebody is.

As in "Authorizing OAuth apps" and "REST API endpoints for users" of its documentation; the API stands under /api/v3, as
on GitHub Enterprise Server. It is plain OAuth 2.0 with habits of its own: no ID token, no discovery, tokens in a form
unless JSON is asked for, scopes between commas, and refused tokens with status 200.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from idp.domain.clock import Clock, system_clock
from tests.support.bent import ABSENT, Bent, credentials, merged, pkce_challenge
from tests.support.server import listen, served, url_of

_ENDPOINTS = {
    "authorize": ("/login/oauth/authorize", "GET"),
    "access_token": ("/login/oauth/access_token", "POST"),
    "user": ("/api/v3/user", "GET"),
    "emails": ("/api/v3/user/emails", "GET"),
}
_DOCUMENTATION = "https://docs.github.com/rest"
_REFUSALS = {
    "bad_verification_code": "The code passed is incorrect or expired.",
    "incorrect_client_credentials": "The client_id and/or client_secret passed are incorrect.",
    "redirect_uri_mismatch": "The redirect_uri MUST match the registered callback URL for this application.",
    "unverified_user_email": "The user must have a verified primary email.",
}
_MAY_READ_EMAILS = {"user", "user:email"}


def somebody() -> dict[str, Any]:
    """Return what GitHub tells of the person who is signed in there; `email` is the public one, which few have."""
    return {
        "login": "octojane",
        "id": 583231,
        "node_id": "MDQ6VXNlcjU4MzIzMQ==",
        "avatar_url": "https://avatars.example/u/583231?v=4",
        "html_url": "https://github.example/octojane",
        "type": "User",
        "site_admin": False,
        "name": "Jane Doe",
        "company": None,
        "blog": "",
        "location": None,
        "email": None,
    }


def addresses() -> list[dict[str, Any]]:
    return [
        {"email": "jane@lab.example", "verified": True, "primary": True, "visibility": "private"},
        {"email": "583231+octojane@users.noreply.github.example", "verified": True, "primary": False}
        | {"visibility": None},
        {"email": "jane@unproven.example", "verified": False, "primary": False, "visibility": None},
    ]


@dataclass(frozen=True)
class _Authorized:
    redirect_uri: str
    scope: str
    challenge: str | None


class GitHub(Bent):
    """`user` and `emails` are what it tells, `token` and `callback` are merged over the usual answers."""

    client_id, client_secret = "Iv1.8a61f9b3a7aba766", "the-secret-of-lab-id-at-github"

    def __init__(self, issuer: str, clock: Clock = system_clock) -> None:
        self.issuer, self.clock = issuer, clock
        super().__init__()

    def reset(self) -> None:
        """Become correct again, and forget who asked what."""
        super().reset()
        self.user = somebody()
        self.emails = addresses()
        self.redirect_uris: set[str] | None = None
        self.token: dict[str, Any] = {}
        self.callback: dict[str, Any] = {}
        self.rate_limited = False
        self._codes: dict[str, _Authorized] = {}
        self._scopes: dict[str, set[str]] = {}

    def set_redirect_uris(self, *uris: str) -> None:
        self.redirect_uris = set(uris)

    def refuse(self, error: str = "access_denied", **more: str) -> None:
        """Answer authorization requests with an error."""
        self.callback |= {"code": ABSENT, "error": error, **more}

    def refuse_token(self, error: str = "bad_verification_code") -> None:
        """Answer token requests with an error, which GitHub does with status 200."""
        self.bend["access_token"] = lambda request, _usual: _told(request, _refusal(error))

    async def _authorize(self, request: Request) -> Response:
        asked = request.query_params
        redirect_uri = asked.get("redirect_uri", "")
        if asked.get("client_id") != self.client_id:
            return Response("Not Found", 404)
        if not redirect_uri or (self.redirect_uris is not None and redirect_uri not in self.redirect_uris):
            return Response("The redirect_uri is not associated with this application.", 400)
        code = token_hex(10)
        self._codes[code] = _Authorized(redirect_uri, asked.get("scope", ""), asked.get("code_challenge"))
        answer = merged({"code": code, "state": asked.get("state", ABSENT)}, self.callback)
        return RedirectResponse(str(URL(redirect_uri).include_query_params(**answer)), 302)

    async def _access_token(self, request: Request) -> Response:
        form = self.last("access_token").form
        if credentials(request, form) != (self.client_id, self.client_secret):
            return _told(request, _refusal("incorrect_client_credentials"))
        authorized = self._codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier")
        if authorized is None or authorized.challenge != (verifier and pkce_challenge(verifier)):
            return _told(request, _refusal("bad_verification_code"))
        if form.get("redirect_uri", authorized.redirect_uri) != authorized.redirect_uri:
            return _told(request, _refusal("redirect_uri_mismatch"))
        token = f"gho_{token_hex(18)}"
        scopes = set(authorized.scope.replace(",", " ").split())
        self._scopes[token] = scopes
        usual = {"access_token": token, "scope": ",".join(sorted(scopes)), "token_type": "bearer"}
        return _told(request, merged(usual, self.token))

    async def _user(self, request: Request) -> Response:
        return self._refused(request) or JSONResponse(self.user)

    async def _emails(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        if not self._scopes_of(request) & _MAY_READ_EMAILS:
            return JSONResponse({"message": "Not Found", "documentation_url": _DOCUMENTATION, "status": "404"}, 404)
        return JSONResponse(self.emails)

    def _refused(self, request: Request) -> Response | None:
        """Return the answer to a request that the API does not want: without a name, without a token, too many."""
        if not request.headers.get("user-agent"):
            return Response("Request forbidden by administrative rules.", 403)
        if self.rate_limited:
            until = int((self.clock() + timedelta(minutes=10)).timestamp())
            headers = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(until)}
            message = f"API rate limit exceeded for user ID {self.user['id']}."
            return JSONResponse({"message": message, "documentation_url": _DOCUMENTATION}, 403, headers)
        if self._token_of(request) not in self._scopes:
            return JSONResponse({"message": "Bad credentials", "documentation_url": _DOCUMENTATION}, 401)
        return None

    def _scopes_of(self, request: Request) -> set[str]:
        return self._scopes[self._token_of(request)]

    @staticmethod
    def _token_of(request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() in {"bearer", "token"} else ""

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route(path, partial(self.answer, name, getattr(self, f"_{name}")), methods=[method])
                for name, (path, method) in _ENDPOINTS.items()
            ]
        )


@pytest.fixture(scope="session")
def github_server() -> Iterator[GitHub]:
    with github() as hub:
        yield hub


@pytest.fixture
def hub(github_server: GitHub) -> GitHub:
    """The one of the run, correct again, with the machine's time."""
    github_server.reset()
    github_server.clock = system_clock
    return github_server


@contextmanager
def github(clock: Clock = system_clock) -> Iterator[GitHub]:
    with listen() as listener:
        hub = GitHub(url_of(listener), clock)
        with served(hub.app, listener):
            yield hub


def _refusal(error: str) -> dict[str, str]:
    refusal = {"error": error, "error_description": _REFUSALS.get(error, error)}
    return {**refusal, "error_uri": "https://docs.github.com/apps/oauth-troubleshooting"}


def _told(request: Request, answer: dict[str, Any]) -> Response:
    """Return what the token address says, always with status 200: JSON where it was asked for, else a form."""
    if "json" in request.headers.get("accept", ""):
        return JSONResponse(answer)
    return Response(urlencode(answer), media_type="application/x-www-form-urlencoded")
