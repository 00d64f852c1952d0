"""The page that lists the accounts of a browser, for choosing one (OpenID Connect Core §3.1.2.1, `select_account`)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.authorization_request import AuthorizationRequest
from idp.services.sessions import Accounts, SignedIn
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.oauth.authorize import resume_path
from idp.web.oauth.logout import end_sessions
from idp.web.onward import onward, read_next
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_STALE = "Somebody signed in or out in another window meanwhile. This is who is signed in now: please choose again."
_GONE = "That account is no longer signed in here. Choose another one, or sign in with it again."


@page
async def select_account(request: Request[Services]) -> Response:
    """List the accounts, and take a choice or sign one of them out."""
    state = request.state
    query = read_query(request)
    handle = query.get("interaction")
    next_path = read_next(query) if handle is None else None
    accounts = await find_accounts(request)
    pending = None if handle is None else (await state["authorization"].pending(handle)).request
    if request.method != "POST":
        return _list(request, accounts, pending, handle, next_path)
    form = await read_form(request)
    form.check_single()
    try:
        state["cookies"].check_form(request, form.get("csrf"), accounts.active)
    except StaleForm:
        return _list(request, accounts, pending, handle, next_path, error=_STALE, status=403)
    if (leaving := accounts.find(form.get("sign_out") or "")) is not None:
        return await _sign_out(request, accounts, leaving, select_account_path(handle, next_path))
    if (chosen := accounts.find(form.get("account") or "")) is not None:
        return await _choose(request, accounts, chosen, handle, next_path)
    return _list(request, accounts, pending, handle, next_path, error=_GONE, status=409)


def list_accounts(accounts: Iterable[SignedIn], *, now: datetime) -> list[dict[str, Any]]:
    """Return what the pages show of each account."""
    return [
        {
            "sid": account.session.id,
            "name": account.user.name or account.user.label,
            "label": account.user.label,
            "at": account.session.auth_time,
            "minutes": max(0, (now - account.session.auth_time) // timedelta(minutes=1)),
        }
        for account in accounts
    ]


def select_account_path(handle: str | None, next_path: str | None = None) -> str:
    """Return where to choose among the accounts: within an authorization request, for a page of ours, or for itself."""
    within = _within(handle, next_path)
    return f"/select-account?{urlencode(within)}" if within else "/select-account"


def _within(handle: str | None, next_path: str | None) -> dict[str, str]:
    return onward(next_path) if handle is None else {"interaction": handle}


async def _choose(
    request: Request[Services], accounts: Accounts, chosen: SignedIn, handle: str | None, next_path: str | None
) -> Response:
    state = request.state
    if handle is not None:
        await state["authorization"].select(handle, accounts, chosen.session.id)
    await state["sessions"].select(chosen)
    response = redirect(next_path or "/" if handle is None else resume_path(handle))
    if chosen is not accounts.active:
        state["cookies"].set_accounts(response, request, accounts.with_active(chosen))
    return response


async def _sign_out(request: Request[Services], accounts: Accounts, leaving: SignedIn, path: str) -> Response:
    onwards = "/" if path == select_account_path(None) else path
    return await end_sessions(request, accounts, [leaving.session], location=onwards, automatic=True, client_name=None)


def _list(
    request: Request[Services],
    accounts: Accounts,
    pending: AuthorizationRequest | None,
    handle: str | None,
    next_path: str | None,
    *,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    within = _within(handle, next_path)
    if not accounts.all:
        return redirect(f"/login?{urlencode(within)}" if within else "/login")
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "select_account.html",
        status=status,
        transaction=handle is not None,
        csrf=csrf,
        action=select_account_path(handle, next_path),
        accounts=list_accounts(accounts.all, now=state["clock"]()),
        active_sid=None if accounts.active is None else accounts.active.session.id,
        client_name=None if pending is None else pending.client.client_name,
        add_account_url=f"/login?{urlencode({**within, 'add': '1'})}",
        error=error,
    )
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response
