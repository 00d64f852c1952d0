"""The demo application: a relying party of Lab ID (OpenID Connect Core §3.1), as a website around `openid_client`.

Tokens stay in its memory; the browser holds a random cookie and nothing else.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from authlib.integrations.httpx_client import OAuthError
from httpx2 import HTTPError
from joserfc.errors import JoseError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from idp.demo.openid_client import Account, OpenIDClient, SignIn
from idp.resources import templates_dir
from idp.web.pages import Pages, StaticFiles

COOKIE: Final = "demo"
SCOPES: Final = {
    "profile": "Your name and profile",
    "email": "Your email address",
    "labs": "Your labs and your role in each",
    "groups": "Your labs as plain group names",
    "offline_access": "Access while you are away",
}
_ASKED_FIRST: Final = {"profile", "email", "labs", "groups"}
_TOKENS: Final = {"access_token", "refresh_token", "id_token"}
_TIMES: Final = {"iat", "exp", "nbf", "auth_time", "updated_at"}
_MAX_BROWSERS: Final = 1000
_MAX_SIGN_INS: Final = 10


@dataclass
class Browser:
    """All that is known of one browser; sign-ins under way by their state, for each tab may have its own."""

    sign_ins: dict[str, SignIn] = field(default_factory=dict)
    account: Account | None = None
    logout_state: str | None = None


class Application:
    """The website: a start page, the account behind it, and the way there and back."""

    def __init__(self, client: OpenIDClient, *, url: str, pages: Pages, stylesheet: str) -> None:
        self._client = client
        self._url = url
        self._pages = pages
        self._stylesheet = stylesheet
        self._browsers: dict[str, Browser] = {}

    async def start(self, request: Request) -> Response:
        """Show who is signed in, or offer it."""
        if f"http://{request.headers.get('host')}" != self._url:
            return RedirectResponse(self._url, 303)  # by the one name that the redirect URI and the cookie are for
        browser = self._browser(request)
        if browser.account is not None:
            return self._show_account(browser.account)
        signed_out = browser.logout_state is not None and request.query_params.get("state") == browser.logout_state
        return self._page("start", scopes=SCOPES, asked_first=_ASKED_FIRST, signed_out=signed_out)

    async def sign_in(self, request: Request) -> Response:
        """Leave for the provider."""
        form = await self._form(request)
        scope = " ".join(["openid", *(name for name in SCOPES if name in form.getlist("scope"))])
        browser = self._browser(request)
        while len(browser.sign_ins) >= _MAX_SIGN_INS:
            del browser.sign_ins[next(iter(browser.sign_ins))]
        state = secrets.token_urlsafe(32)
        sign_in = SignIn(nonce=secrets.token_urlsafe(32), code_verifier=secrets.token_urlsafe(48))
        browser.sign_ins[state] = sign_in
        url = await self._client.authorization_url(scope, state=state, sign_in=sign_in)
        response = RedirectResponse(url, 303)
        return response if self._known(request) else self._remember(response, request, browser)

    async def callback(self, request: Request) -> Response:
        """Take the provider's answer."""
        browser = self._browser(request)
        sign_in = browser.sign_ins.pop(request.query_params.get("state", ""), None)
        if sign_in is None:
            raise OAuthError("unknown_state", "This browser did not begin such a sign-in, or ended it already.")
        code = self._client.check_answer(request.query_params)
        browser.account = await self._client.sign_in(code, sign_in)
        # Under a new cookie: nobody who knew the old one is signed in now.
        return self._remember(RedirectResponse("/", 303), request, browser)

    async def refresh(self, request: Request) -> Response:
        """Renew the tokens."""
        await self._form(request)
        browser = self._browser(request)
        if browser.account is not None:
            browser.account = await self._client.refresh(browser.account)
        return RedirectResponse("/", 303)

    async def userinfo(self, request: Request) -> Response:
        """Ask the provider once more about the user."""
        await self._form(request)
        browser = self._browser(request)
        if browser.account is not None:
            browser.account = await self._client.read_userinfo(browser.account)
        return RedirectResponse("/", 303)

    async def sign_out(self, request: Request) -> Response:
        """Forget the user, then leave for the provider to sign out there, too."""
        await self._form(request)
        browser = self._browser(request)
        if browser.account is None:
            return RedirectResponse("/", 303)
        state = secrets.token_urlsafe(32)
        url = await self._client.logout_url(browser.account, state=state, post_logout_redirect_uri=f"{self._url}/")
        return self._remember(RedirectResponse(url, 303), request, Browser(logout_state=state))

    async def refused(self, request: Request, error: Exception) -> Response:
        """Show what went wrong at the provider, or between it and here."""
        if isinstance(error, HTTPError):
            code, text, status = "provider_unavailable", "The provider did not answer as it should.", 502
        elif isinstance(error, HTTPException):
            code, text, status = "bad_request", error.detail, error.status_code
        else:
            code, text, status = getattr(error, "error", ""), getattr(error, "description", ""), 400
        return self._page("error", status=status, code=code, text=text)

    def _show_account(self, account: Account) -> Response:
        tokens = {
            name: _shortened(value) if name in _TOKENS else value
            for name, value in account.tokens.items()
            if name != "expires_at"  # Authlib's, not the provider's
        }
        userinfo = account.userinfo
        return self._page(
            "account",
            person=userinfo.get("name") or userinfo.get("preferred_username") or userinfo.get("email"),
            sub=userinfo["sub"],
            labs=userinfo.get("labs"),
            at=_time,
            sections={
                "UserInfo": [_readable(userinfo)],
                "ID token": [_readable(account.id_token.header), _readable(account.id_token)],
                "Access token": [_readable(account.access_token.header), _readable(account.access_token.claims)],
                "Token response": [_readable(tokens)],
            },
        )

    def _page(self, name: str, *, status: int = 200, **context: object) -> Response:
        # Its forms lead to the provider, which `form-action` would refuse.
        template = f"demo/{name}.html"
        return self._pages.render(
            template, status=status, language="en", transaction=True, stylesheet=self._stylesheet, **context
        )

    def _known(self, request: Request) -> bool:
        return request.cookies.get(COOKIE) in self._browsers

    def _browser(self, request: Request) -> Browser:
        return self._browsers.get(request.cookies.get(COOKIE, "")) or Browser()

    def _remember(self, response: Response, request: Request, browser: Browser) -> Response:
        self._browsers.pop(request.cookies.get(COOKIE, ""), None)
        while len(self._browsers) >= _MAX_BROWSERS:
            del self._browsers[next(iter(self._browsers))]
        cookie = secrets.token_urlsafe(32)
        self._browsers[cookie] = browser
        # Over https it would be named __Host-demo, and be Secure.
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="lax")
        return response

    async def _form(self, request: Request) -> Any:
        # Browsers send Origin with every POST; SameSite alone lets other ports of this machine through.
        if request.headers.get("origin") != self._url:
            raise HTTPException(403, "The form was not sent from this application.")
        return await request.form()


def create_relying_party(
    *, issuer: str, port: int, client_id: str = "demo", client_secret: str = "demo-secret"
) -> ASGIApp:
    """Return the demo application, to be served as `http://localhost:PORT` and only there."""
    url = f"http://localhost:{port}"
    client = OpenIDClient(issuer, client_id=client_id, client_secret=client_secret, redirect_uri=f"{url}/callback")
    pages = Pages(service_name="Demo application", templates_dir=templates_dir())
    static = StaticFiles(Path(__file__).with_name("static"))
    application = Application(client, url=url, pages=pages, stylesheet=f"/demo{static.url('demo.css')}")
    return Starlette(
        routes=[
            Route("/", application.start, methods=["GET"]),
            Route("/login", application.sign_in, methods=["POST"]),
            Route("/callback", application.callback, methods=["GET"]),
            Route("/refresh", application.refresh, methods=["POST"]),
            Route("/userinfo", application.userinfo, methods=["POST"]),
            Route("/logout", application.sign_out, methods=["POST"]),
            Mount("/demo", routes=static.routes()),
            *pages.static.routes(),
        ],
        exception_handlers=dict.fromkeys((OAuthError, JoseError, HTTPError, HTTPException), application.refused),
    )


def _shortened(token: str) -> str:
    return f"{token[:12]}… ({len(token)} characters)"


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _readable(claims: Mapping[str, Any]) -> list[tuple[str, str, datetime | None]]:
    """Return names, values as text, and the point in time that a value stands for."""
    return [
        (
            name,
            _text(value),
            _time(value) if name in _TIMES and isinstance(value, int | float) else None,
        )
        for name, value in claims.items()
    ]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "\n".join(map(_text, value))
    return json.dumps(value, ensure_ascii=False)
