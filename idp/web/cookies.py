"""Cookies: the session, those of further accounts, a state that scripts may watch, and one that protects forms (CSRF).

Under https they bear the `__Host-` prefix, so that no subdomain can plant them; plain http exists on loopback only.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from starlette.requests import HTTPConnection
from starlette.responses import Response

from idp.crypto.opaque import hash_token, mac, mint_token, same
from idp.services.sessions import MAX_ACCOUNTS, Accounts, SignedIn


class ForgedForm(Exception):
    """A form that did not come from our page in this browser and session."""


class StaleForm(ForgedForm):
    """One that no other site sent: its page was opened before somebody signed in or out, and can be shown anew."""


class Cookies:
    """Reads and sets the cookies of this installation."""

    def __init__(self, *, issuer: str, csrf_key: bytes) -> None:
        self._issuer = issuer
        self._secure = issuer.startswith("https:")
        prefix = "__Host-" if self._secure else ""
        self._session = f"{prefix}idp"
        self._others = f"{prefix}idp-accounts"
        self._state = f"{prefix}idp-state"
        self._form = f"{prefix}idp-form"
        self._csrf_key = csrf_key

    @property
    def state_name(self) -> str:
        """The name of the cookie that session management watches, for the script that reads it."""
        return self._state

    def session(self, request: HTTPConnection[Any]) -> str | None:
        """Return the session cookie: that of the active account."""
        return request.cookies.get(self._session)

    def sessions(self, request: HTTPConnection[Any]) -> list[str]:
        """Return every session cookie, that of the active account first."""
        return list(filter(None, (self.session(request), *self.others(request))))

    def others(self, request: HTTPConnection[Any]) -> tuple[str, ...]:
        """Return the session cookies of further accounts, each once and no more than we would have set."""
        cookies = request.cookies.get(self._others, "").split(".", MAX_ACCOUNTS)[: MAX_ACCOUNTS - 1]
        return tuple(dict.fromkeys(filter(None, cookies)))

    def browser_state(self, request: HTTPConnection[Any]) -> str | None:
        """Return what changes whenever somebody signs in or out (OpenID Connect Session Management §3.2)."""
        return request.cookies.get(self._state)

    def set_session(self, response: Response, active: str | None, others: Sequence[str] = ()) -> None:
        """Set the session cookies, and a new state: somebody signed in or out, or changed to another account.

        They end with the browser, or when the stored sessions do.
        """
        for name, value in ((self._session, active), (self._others, ".".join(others))):
            if value:
                self._set(response, name, value)
            else:
                response.delete_cookie(name, path="/", secure=self._secure, httponly=True, samesite="lax")
        self._renew_state(response)

    def sign_in(
        self, response: Response, request: HTTPConnection[Any], cookie: str, others: Iterable[SignedIn]
    ) -> None:
        """Set the cookie of a new session, and keep those of others."""
        self.set_session(response, cookie, self._cookies_of(request, others))

    def set_accounts(self, response: Response, request: HTTPConnection[Any], accounts: Accounts) -> None:
        """Keep the session cookies of these accounts only, one of them or none active."""
        active = () if accounts.active is None else (accounts.active,)
        self.set_session(
            response,
            next(iter(self._cookies_of(request, active)), None),
            self._cookies_of(request, accounts.others),
        )

    def set_missing_state(self, response: Response, accounts: Accounts) -> None:
        """Give a browser its state whose sign-in is older than this cookie, or that lost it."""
        if accounts.all and accounts.browser_state is None:
            self._renew_state(response)

    def form_token(self, request: HTTPConnection[Any], signed_in: SignedIn | None) -> tuple[str, str | None]:
        """Return the hidden field for a form, and a new form cookie to be set when the browser has none."""
        cookie = request.cookies.get(self._form)
        fresh = None if cookie else mint_token()
        return self._token(cookie or fresh or "", signed_in), fresh

    def browser(self, request: HTTPConnection[Any]) -> str | None:
        """Return the hash of this browser's form cookie, which nobody else has; None where it has none yet."""
        cookie = request.cookies.get(self._form)
        return None if not cookie else hash_token(cookie)

    def set_form(self, response: Response, cookie: str | None) -> None:
        """Set the form cookie if there is a new one."""
        if cookie is not None:
            self._set(response, self._form, cookie)

    def check_form(self, request: HTTPConnection[Any], token: str | None, signed_in: SignedIn | None) -> None:
        """Check that a form came from our own page in this browser and session.

        Browsers say where a form comes from; what says nothing is judged by the token alone.

        Raises:
            StaleForm: it did not, but says of no other site that it came from there.
            ForgedForm: it came from another site.
        """
        origin = request.headers.get("origin")
        if origin is not None and origin != self._issuer:
            raise ForgedForm
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise ForgedForm
        cookie = request.cookies.get(self._form)
        if not cookie or token is None or not same(token, self._token(cookie, signed_in)):
            raise StaleForm

    def _token(self, cookie: str, signed_in: SignedIn | None) -> str:
        return mac(self._csrf_key, f"{cookie}|{'' if signed_in is None else signed_in.session.id}")

    def _cookies_of(self, request: HTTPConnection[Any], accounts: Iterable[SignedIn]) -> list[str]:
        by_hash = {hash_token(cookie): cookie for cookie in self.sessions(request)}
        return [by_hash[account.session.hash] for account in accounts]

    def _renew_state(self, response: Response) -> None:
        # The page that watches it stands in frames of other sites, which get it under https only.
        site: Literal["none", "lax"] = "none" if self._secure else "lax"
        response.set_cookie(self._state, mint_token(), path="/", secure=self._secure, samesite=site)

    def _set(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(name, value, path="/", secure=self._secure, httponly=True, samesite="lax")
