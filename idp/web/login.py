"""The sign-in page."""

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.opaque import hash_token
from idp.domain.provider import Provider
from idp.protocol.authorization_request import AuthorizationRequest
from idp.protocol.parameters import Parameters
from idp.protocol.scope import provider_of
from idp.services.login import MAX_IDENTIFIER_CHARS, LoginFailed
from idp.services.sessions import Accounts, NewSession
from idp.services.sign_in import SecondFactorDue
from idp.services.upstream_visits import Onward
from idp.web.application import describe
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.google_script import offered
from idp.web.oauth.authorize import resume_path
from idp.web.onward import WAYS, read_next, read_onward, second_factor_path, with_carried
from idp.web.pages import allow_google_script
from idp.web.responses import redirect
from idp.web.select_account import select_account_path
from idp.web.services import Services, find_accounts

STALE = "The page had been open for too long or in another window. Please try again."
_WRONG = "That email, user name or password is not right. Check for typing errors and try again."
_INVITED = "Sign in to answer your invitation."
_AGAIN = "Please sign in again: what you are about to do needs to know that it is you."
_PROVE = "Sign in to the account that you have here already."
_API = "The application wants to use an account that you have elsewhere. Sign in with that one to allow it."
_NOT_ASKED = "You came back without having been asked who you are. Please enter your password here to go on."


@page
async def login(request: Request[Services]) -> Response:
    """Show the form, and take it."""
    state = request.state
    query = read_query(request)
    handle = query.get("interaction")
    accounts = await find_accounts(request)
    pending = None if handle is None else (await state["authorization"].pending(handle)).request
    if request.method != "POST":
        shown = handle is not None or any(query.get(way) is not None for way in WAYS)
        if not shown and accounts.active is not None:
            return redirect(read_next(query) or "/")
        return await login_form(request, query, accounts, pending)
    form = await read_form(request)
    form.check_single()
    identifier, password = form.get("username") or "", form.get("password") or ""
    try:
        state["cookies"].check_form(request, form.get("csrf"), accounts.active)
    except StaleForm:
        return await login_form(request, query, accounts, pending, identifier=identifier, error=STALE, status=403)
    try:
        new = await state["login"].with_password(
            identifier,
            password,
            accounts=accounts,
            browser=state["cookies"].browser(request),
            user_agent=request.headers.get("user-agent"),
            interaction=None if handle is None else hash_token(handle),
        )
    except LoginFailed:
        return await login_form(request, query, accounts, pending, identifier=identifier, error=_WRONG, status=401)
    return signed_in(request, new, onward_path(handle, read_next(query)))


def signed_in(request: Request[Services], new: NewSession | SecondFactorDue, path: str) -> Response:
    """Return the answer to whoever signed in, with the cookie of the session, which leads on to a path.

    Where a second factor is due there is no session yet, and it leads there first.
    """
    if isinstance(new, SecondFactorDue):
        return redirect(second_factor_path(path, pending=new.handle))
    response = redirect(path)
    request.state["cookies"].sign_in(response, request, new.cookie, new.others)
    return response


def onward_path(handle: str | None, next_path: str | None) -> str:
    """Return where somebody goes on to who has signed in: their authorization request, a page of ours, or the first."""
    return next_path or "/" if handle is None else resume_path(handle)


async def login_form(
    request: Request[Services],
    query: Parameters,
    accounts: Accounts,
    pending: AuthorizationRequest | None,
    *,
    identifier: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    """Return the page; `pending` is the authorization request within which it stands."""
    state = request.state
    handle, adding = query.get("interaction"), query.get("add") is not None
    next_path = read_next(query) if handle is None else None
    going = read_onward(query)
    # A provider has just vouched for somebody without having asked them: only something of ours proves it now.
    password_first = query.get("proof") is not None
    providers = [] if password_first else await _providers(request, going, accounts)
    choice = () if password_first else accounts.all if adding else accounts.others
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    one_tap = await offered(request, pending, going, form_cookie=fresh) if providers else None
    path = with_carried("/login", going)
    response = state["pages"].render(
        "login.html",
        status=status,
        # Browsers apply form-action to the whole way to a provider and back.
        transaction=handle is not None or bool(providers),
        csrf=csrf,
        action=f"{path}{'&' if '?' in path else '?'}proof=1" if password_first else path,
        # Whoever forgot it, or has another provider that does ask, goes on there.
        other_ways_url=path if password_first else None,
        mailed=_mailed_ways(request, going, proving=password_first or going.proves),
        client=None if pending is None else await describe(request, pending.client),
        identifier=_known(query, accounts, pending) if identifier is None else identifier,
        error=error,
        notice=_notice(query, next_path, asks_for_api=_asks_for_api(pending) and accounts.active is not None),
        password_first=password_first,
        providers=providers,
        one_tap=one_tap,
        choose_account_url=select_account_path(handle, next_path) if choice else None,
        demo_accounts=state["demo"].accounts if state["demo"] is not None else [],
    )
    if one_tap is not None:
        allow_google_script(response, style_nonce=one_tap["style_nonce"])
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response


def _mailed_ways(request: Request[Services], going: Onward, *, proving: bool) -> dict[str, str | None]:
    """Return the addresses of what needs mail; None where it is switched off. Whoever proves an account makes none."""
    state, sign_up = request.state, request.state["sign_up_by_mail"]
    offered = not proving and sign_up is not None and sign_up.offered(going.next_path)
    return {
        "code_url": None if state["email_codes"] is None else with_carried("/login/code", going),
        "recover_url": None if state["recovery"] is None else with_carried("/recover", going),
        "sign_up_url": with_carried("/signup", going) if offered else None,
    }


async def _providers(request: Request[Services], going: Onward, accounts: Accounts) -> list[dict[str, Any]]:
    """Return the buttons; whoever proves to be the same person gets those that can prove it."""
    shown: Iterable[Provider] = await request.state["providers"].shown()
    if going.again and going.handle is None and accounts.active is not None:
        held = await request.state["linked_accounts"].of(accounts.active.user)
        issuers = {linked.account.issuer for linked in held}
        shown = [provider for provider in shown if provider.issuer in issuers]
    return [
        {
            "name": provider.name,
            "display_name": provider.display_name,
            "kind": provider.kind,
            "action": with_carried(f"/login/{provider.name}", going),
        }
        for provider in shown
    ]


def _known(query: Parameters, accounts: Accounts, pending: AuthorizationRequest | None) -> str:
    """Return who is expected to sign in: whom the page or application names, else whom it asks to do so again."""
    if hint := query.get("login_hint"):
        return hint[:MAX_IDENTIFIER_CHARS]
    if pending is not None and pending.login_hint:
        return pending.login_hint[:MAX_IDENTIFIER_CHARS]
    if accounts.active is None or query.get("add") is not None:
        return ""
    if pending is None:
        return accounts.active.user.label if query.get("again") is not None else ""
    # An id_token_hint may name somebody else than the account that is active.
    return "" if pending.id_token_hint is not None else accounts.active.user.label


def _asks_for_api(pending: AuthorizationRequest | None) -> bool:
    return pending is not None and any(provider_of(token) is not None for token in pending.scope)


def _notice(query: Parameters, next_path: str | None, *, asks_for_api: bool) -> str | None:
    if query.get("proof") is not None:
        return _NOT_ASKED
    if query.get("again") is not None:
        return _AGAIN
    if query.get("prove") is not None:
        return _PROVE
    if asks_for_api:
        return _API
    return _INVITED if next_path is not None and next_path.startswith("/invitations/") else None
