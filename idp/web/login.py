"""The sign-in page."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.opaque import hash_token
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.parameters import Parameters
from idp.services.login import LoginFailed
from idp.services.sessions import Accounts
from idp.web.application import describe
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.oauth.authorize import resume_path
from idp.web.onward import onward, read_next
from idp.web.responses import redirect
from idp.web.select_account import select_account_path
from idp.web.services import Services, find_accounts

_WRONG = "That email, user name or password is not right. Check for typing errors and try again."
_STALE = "The page had been open for too long or in another window. Please try again."
_INVITED = "Sign in to answer your invitation."


@page
async def login(request: Request[Services]) -> Response:
    """Show the form, and take it."""
    state = request.state
    query = read_query(request)
    handle = query.get("interaction")
    accounts = await find_accounts(request)
    pending = None if handle is None else (await state["authorization"].pending(handle)).request
    if request.method != "POST":
        if handle is None and accounts.active is not None and query.get("add") is None:
            return redirect(read_next(query) or "/")
        return await _form(request, query, accounts, pending, identifier=_known(query, accounts, pending))
    form = await read_form(request)
    form.check_single()
    identifier, password = form.get("username") or "", form.get("password") or ""
    try:
        state["cookies"].check_form(request, form.get("csrf"), accounts.active)
    except StaleForm:
        return await _form(request, query, accounts, pending, identifier=identifier, error=_STALE, status=403)
    try:
        new = await state["login"].with_password(
            identifier,
            password,
            accounts=accounts,
            user_agent=request.headers.get("user-agent"),
            interaction=None if handle is None else hash_token(handle),
        )
    except LoginFailed:
        return await _form(request, query, accounts, pending, identifier=identifier, error=_WRONG, status=401)
    response = redirect(read_next(query) or "/" if handle is None else resume_path(handle))
    state["cookies"].sign_in(response, request, new.cookie, new.others)
    return response


def _known(query: Parameters, accounts: Accounts, pending: AuthorizationRequest | None) -> str:
    """Return who is expected to sign in: whom the application names, else whom it asks to do so again."""
    if pending is None:
        return ""
    if pending.login_hint:
        return pending.login_hint[:320]
    # An id_token_hint may name somebody else than the account that is active.
    if accounts.active is None or query.get("add") is not None or pending.id_token_hint is not None:
        return ""
    return accounts.active.user.label


async def _form(
    request: Request[Services],
    query: Parameters,
    accounts: Accounts,
    pending: AuthorizationRequest | None,
    *,
    identifier: str,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    handle, adding = query.get("interaction"), query.get("add") is not None
    next_path = read_next(query) if handle is None else None
    carried = {name: value for name in ("interaction", "add") if (value := query.get(name)) is not None}
    carried |= onward(next_path)
    choice = accounts.all if adding else accounts.others
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "login.html",
        status=status,
        transaction=handle is not None,
        csrf=csrf,
        action=f"/login?{urlencode(carried)}" if carried else "/login",
        client=None if pending is None else await describe(request, pending.client),
        identifier=identifier,
        error=error,
        notice=_INVITED if next_path is not None and next_path.startswith("/invitations/") else None,
        choose_account_url=select_account_path(handle, next_path) if choice else None,
        demo_accounts=state["demo"].accounts if state["demo"] is not None else [],
    )
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response
