"""The page that asks for a second factor: within a sign-in, or to make more of the one that there is (RFC 9470)."""

from dataclasses import dataclass
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.acr import ACR_TWO_FACTORS, reaches
from idp.domain.client import Client
from idp.domain.user import User
from idp.protocol.parameters import Parameters
from idp.services.second_factors import CodesRefused, PendingGone, Proof, WrongCode
from idp.services.sessions import Accounts, NewSession, SignedIn
from idp.web.application import describe
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.login import STALE, onward_path, signed_in
from idp.web.onward import read_next, read_onward, second_factor_path, sign_in_path, with_carried
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_WRONG = "That code is not right, or was used before. Wait for the next one, or check the clock of your device."
_WRONG_RECOVERY = "That recovery code is not right, or was used before."
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who is asked: somebody who is about to sign in, by the handle of that, or whoever is signed in already."""

    user: User
    pending: str | None = None
    signed_in: SignedIn | None = None
    client: Client | None = None


@page
async def mfa(request: Request[Services]) -> Response:
    """Show the form, and take it."""
    state, query = request.state, read_query(request)
    handle = query.get("interaction")
    path = onward_path(handle, read_next(query))
    form = await read_form(request) if request.method == "POST" else None
    accounts = await find_accounts(request)
    try:
        asked = await _asked(request, query, accounts, path)
        if isinstance(asked, Response):
            return asked
        if form is None:
            return await _show(request, accounts, asked, path)
        form.check_single()
        try:
            state["cookies"].check_form(request, form.get("csrf"), accounts.active)
        except StaleForm:
            return await _show(request, accounts, asked, path, error=STALE, status=403)
        if form.get("decline") is not None and handle is not None:
            await state["step_up"].decline(handle)
        return await _take(request, accounts, asked, form, path)
    except PendingGone:
        return _gone(request, query)


async def _asked(request: Request[Services], query: Parameters, accounts: Accounts, path: str) -> _Asked | Response:
    """Return who is asked, or the way to where things stand where nobody is.

    Raises:
        PendingGone: the sign-in has to begin anew.
    """
    state, handle = request.state, query.get("interaction")
    if (pending := query.get("pending")) is not None:
        user = await state["second_factors"].pending(pending, browser=state["cookies"].browser(request))
        client = None if handle is None else (await state["authorization"].pending(handle)).request.client
        return _Asked(user=user, pending=pending, client=client)
    if handle is not None:
        asked = await state["step_up"].asked(handle, accounts)
        if asked is None:
            return redirect(path)
        return _Asked(user=asked.signed_in.user, signed_in=asked.signed_in, client=asked.request.client)
    if accounts.active is None:
        return redirect(sign_in_path(path))
    if reaches(accounts.active.session.acr, ACR_TWO_FACTORS):
        return redirect(path)
    return _Asked(user=accounts.active.user, signed_in=accounts.active)


async def _take(request: Request[Services], accounts: Accounts, asked: _Asked, form: Parameters, path: str) -> Response:
    factors, user_agent = request.state["second_factors"], request.headers.get("user-agent")
    recovery_code = form.get("recovery_code")
    proof = Proof(totp=form.get("code"), recovery_code=recovery_code)
    try:
        if asked.signed_in is not None:
            cookie = await factors.step_up(asked.signed_in, proof, user_agent=user_agent)
            others = tuple(account for account in accounts.all if account.user.id != asked.user.id)
            new = NewSession(cookie, others)
        else:
            browser = request.state["cookies"].browser(request)
            new = await factors.complete(
                asked.pending or "", proof, browser=browser, accounts=accounts, user_agent=user_agent
            )
    except WrongCode:
        error = _WRONG if recovery_code is None else _WRONG_RECOVERY
        return await _show(request, accounts, asked, path, error=error, status=401)
    except CodesRefused as refused:
        wait = refused.until - request.state["clock"]()
        response = await _show(request, accounts, asked, path, wait_minutes=-(-wait // _MINUTE), status=429)
        response.headers["Retry-After"] = str(int(wait.total_seconds()) + 1)
        return response
    return signed_in(request, new, path)


async def _show(
    request: Request[Services],
    accounts: Accounts,
    asked: _Asked,
    path: str,
    *,
    error: str | None = None,
    wait_minutes: int | None = None,
    status: int = 200,
) -> Response:
    state, handle = request.state, read_query(request).get("interaction")
    held = await state["second_factors"].of(asked.user)
    setup_url = "/account/security/totp" if handle is None else f"/account/security/totp/{handle}"
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "login_mfa.html",
        status=status,
        # Within an authorization request the answer leads to the application.
        transaction=handle is not None,
        csrf=csrf,
        action=second_factor_path(path, pending=asked.pending),
        user_label=asked.user.label,
        client=None if asked.client is None else await describe(request, asked.client),
        held=held,
        gone=False,
        error=error,
        wait_minutes=wait_minutes,
        # Whoever is in the middle of a sign-in begins it anew; whoever is signed in may do without.
        restart_url=with_carried("/login", read_onward(read_query(request))) if asked.pending else None,
        declinable=handle is not None and asked.pending is None,
        setup_url=None if held else setup_url,
    )
    state["cookies"].set_form(response, fresh)
    return response


def _gone(request: Request[Services], query: Parameters) -> Response:
    return request.state["pages"].render(
        "login_mfa.html",
        status=400,
        gone=True,
        client=None,
        error=None,
        restart_url=with_carried("/login", read_onward(query)),
    )
