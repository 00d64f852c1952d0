"""Authorization endpoint (RFC 6749 §3.1, OpenID Connect Core §3.1.2)."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.authorization_response import AuthorizationResponse
from idp.protocol.prompt import Step
from idp.services.authorization import Ask
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.onward import RESUME_PATH
from idp.web.responses import deliver, redirect
from idp.web.services import Services, find_accounts

_PAGES = {
    Step.LOGIN: "/login",
    Step.SELECT_ACCOUNT: "/select-account",
    Step.STEP_UP: "/login/mfa",
    Step.CONSENT: "/consent",
}


@page
async def authorize(request: Request[Services]) -> Response:
    """Take an authorization request by GET or POST."""
    authorization = request.state["authorization"]
    if request.method == "POST":
        # It comes from another site, so without our Lax cookie: stored, and continued by a GET of our own.
        handle = await authorization.remember(await read_form(request))
        return redirect(resume_path(handle))
    return proceed(request, await authorization.start(read_query(request), await find_accounts(request)))


@page
async def resume(request: Request[Services]) -> Response:
    """Continue a stored request after the user did something."""
    handle = read_query(request).get("interaction") or ""
    return proceed(request, await request.state["authorization"].resume(handle, await find_accounts(request)))


def proceed(request: Request[Services], outcome: AuthorizationResponse | Ask) -> Response:
    """Send the browser to the application, or to the page where the user does something first."""
    if isinstance(outcome, AuthorizationResponse):
        return deliver(request, outcome)
    return redirect(f"{_PAGES[outcome.step]}?{urlencode({'interaction': outcome.handle})}")


def resume_path(handle: str) -> str:
    """Return where a stored request continues."""
    return f"{RESUME_PATH}?{urlencode({'interaction': handle})}"
