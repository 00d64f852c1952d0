"""The sign-in page."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.opaque import hash_token
from idp.protocol.authorization_request import AuthorizationRequest
from idp.services.login import LoginFailed
from idp.services.sessions import SignedIn
from idp.web.cookies import ForgedForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.oauth.authorize import resume_path
from idp.web.responses import redirect
from idp.web.services import Services, find_signed_in

_WRONG = "That email, user name or password is not right. Check for typing errors and try again."
_STALE = "The page had been open for too long or in another window. Please try again."


@page
async def login(request: Request[Services]) -> Response:
    """Show the form, and take it."""
    state = request.state
    handle = read_query(request).get("interaction")
    signed_in = await find_signed_in(request)
    pending = None if handle is None else (await state["authorization"].pending(handle)).request
    if request.method != "POST":
        if handle is None and signed_in is not None:
            return redirect("/")
        identifier = pending.login_hint if pending is not None and pending.login_hint else ""
        return _form(request, signed_in, pending, handle, identifier=identifier[:320])
    form = await read_form(request)
    form.check_single()
    identifier, password = form.get("username") or "", form.get("password") or ""
    try:
        state["cookies"].check_form(request, form.get("csrf"), signed_in)
    except ForgedForm:
        # Signed in or out in another tab since: the page is shown anew. A foreign origin gets no second chance.
        if request.headers.get("origin", state["issuer"]) != state["issuer"]:
            raise
        return _form(request, signed_in, pending, handle, identifier=identifier, error=_STALE, status=403)
    try:
        cookie = await state["login"].with_password(
            identifier,
            password,
            previous=signed_in,
            user_agent=request.headers.get("user-agent"),
            interaction=None if handle is None else hash_token(handle),
        )
    except LoginFailed:
        return _form(request, signed_in, pending, handle, identifier=identifier, error=_WRONG, status=401)
    response = redirect("/" if handle is None else resume_path(handle))
    state["cookies"].set_session(response, cookie)
    return response


def _form(
    request: Request[Services],
    signed_in: SignedIn | None,
    pending: AuthorizationRequest | None,
    handle: str | None,
    *,
    identifier: str,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    csrf, fresh = state["cookies"].form_token(request, signed_in)
    response = state["pages"].render(
        "login.html",
        status=status,
        transaction=handle is not None,
        csrf=csrf,
        action="/login" if handle is None else f"/login?{urlencode({'interaction': handle})}",
        client_name=None if pending is None else pending.client.client_name,
        identifier=identifier,
        error=error,
        notice=None,
        demo_accounts=state["demo"].accounts if state["demo"] is not None else [],
    )
    state["cookies"].set_form(response, fresh)
    return response
