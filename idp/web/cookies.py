"""Cookies: the session, and a random one that protects forms (CSRF).

Under https they bear the `__Host-` prefix, so that no subdomain can plant them; plain http exists on loopback only.
"""

from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response

from idp.crypto.opaque import mac, mint_token, same
from idp.services.sessions import SignedIn


class ForgedForm(Exception):
    """A form that did not come from our page in this browser, or from one that was opened before a sign-in."""


class Cookies:
    """Reads and sets the cookies of this installation."""

    def __init__(self, *, issuer: str, csrf_key: bytes) -> None:
        self._issuer = issuer
        self._secure = issuer.startswith("https:")
        prefix = "__Host-" if self._secure else ""
        self._session = f"{prefix}idp"
        self._form = f"{prefix}idp-form"
        self._csrf_key = csrf_key

    def session(self, request: HTTPConnection[Any]) -> str | None:
        """Return the session cookie."""
        return request.cookies.get(self._session)

    def set_session(self, response: Response, cookie: str) -> None:
        """Set the session cookie; it ends with the browser, or when the stored session does."""
        self._set(response, self._session, cookie)

    def clear_session(self, response: Response) -> None:
        """Take the session cookie away."""
        response.delete_cookie(self._session, path="/", secure=self._secure, httponly=True, samesite="lax")

    def form_token(self, request: HTTPConnection[Any], signed_in: SignedIn | None) -> tuple[str, str | None]:
        """Return the hidden field for a form, and a new form cookie to be set when the browser has none."""
        cookie = request.cookies.get(self._form)
        fresh = None if cookie else mint_token()
        return self._token(cookie or fresh or "", signed_in), fresh

    def set_form(self, response: Response, cookie: str | None) -> None:
        """Set the form cookie if there is a new one."""
        if cookie is not None:
            self._set(response, self._form, cookie)

    def check_form(self, request: HTTPConnection[Any], token: str | None, signed_in: SignedIn | None) -> None:
        """Check that a form came from our own page in this browser and session.

        Browsers say where a form comes from; what says nothing is judged by the token alone.

        Raises:
            ForgedForm: it did not.
        """
        origin = request.headers.get("origin")
        if origin is not None and origin != self._issuer:
            raise ForgedForm
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise ForgedForm
        cookie = request.cookies.get(self._form)
        if not cookie or token is None or not same(token, self._token(cookie, signed_in)):
            raise ForgedForm

    def _token(self, cookie: str, signed_in: SignedIn | None) -> str:
        return mac(self._csrf_key, f"{cookie}|{'' if signed_in is None else signed_in.session.id}")

    def _set(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(name, value, path="/", secure=self._secure, httponly=True, samesite="lax")
