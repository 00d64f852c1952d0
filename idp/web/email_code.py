"""Signing in with a mailed code: the page that asks for the address, and the one that takes the code."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.services.email_codes import EmailCodes, TooSoon, Waiting, WrongCode
from idp.services.input import InputRefused
from idp.services.login import MAX_IDENTIFIER_CHARS
from idp.services.mailed_proofs import ProofGone, TooManyMails
from idp.services.sessions import Accounts
from idp.services.upstream_visits import Onward
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query, read_single_form
from idp.web.login import STALE, onward_path, signed_in
from idp.web.onward import read_onward, with_carried
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

TOO_MANY_MAILS = "This address was sent several mails in the last hour. Please try again later, or in another way."
_NO_ADDRESS = "That is no email address."
_GONE = "That code does not work any more. Ask for a new one."
_TOO_SOON = "A code was sent a moment ago. Please wait a little before you ask for another one."
_SENT = "We have sent another code. Only the newest one counts."
_WRONG = "That is not the code that was sent last."


@page
async def ask(request: Request[Services]) -> Response:
    """Ask for an address and mail a code to it; the sign-in page's own form may bring it as well."""
    codes, going = _codes(request), read_onward(read_query(request))
    accounts = await find_accounts(request)
    if going.handle is not None:
        await request.state["authorization"].pending(going.handle)
    if request.method != "POST":
        hint = read_query(request).get("login_hint") or ""
        return _ask(request, accounts, going, email=hint[:MAX_IDENTIFIER_CHARS])
    form = await read_form(request)
    form.check_single()
    email = form.get("username") or ""
    try:
        request.state["cookies"].check_form(request, form.get("csrf"), accounts.active)
        browser = request.state["cookies"].browser(request) or ""
        handle = await codes.begin(email, going, browser=browser, accounts=accounts)
    except StaleForm:
        return _ask(request, accounts, going, email=email, error=STALE, status=403)
    except InputRefused:
        # A user name stands in the sign-in page's field as well; then the address is asked for.
        error = _NO_ADDRESS if "@" in email else None
        return _ask(request, accounts, going, email=email if error else "", error=error, status=422)
    except TooManyMails:
        return _ask(request, accounts, going, email=email, error=TOO_MANY_MAILS, status=429)
    return redirect(with_carried(f"/login/code/{handle}", going))


@page
async def enter(request: Request[Services]) -> Response:
    """Take the code, or send another one."""
    codes, state = _codes(request), request.state
    handle, browser = request.path_params["handle"], state["cookies"].browser(request)
    accounts = await find_accounts(request)
    form = await read_single_form(request)
    try:
        waiting = await codes.waiting(handle, browser=browser)
        if form is None:
            return _enter(request, accounts, waiting)
        try:
            state["cookies"].check_form(request, form.get("csrf"), accounts.active)
            if form.get("resend") is not None:
                await codes.resend(handle, browser=browser)
                return _enter(request, accounts, await codes.waiting(handle, browser=browser), notice=_SENT)
            new, onward = await codes.verify(
                handle,
                form.get("code") or "",
                browser=browser,
                accounts=accounts,
                user_agent=request.headers.get("user-agent"),
            )
            return signed_in(request, new, onward_path(onward.handle, onward.next_path))
        except StaleForm:
            return _enter(request, accounts, waiting, error=STALE, status=403)
        except TooSoon:
            return _enter(request, accounts, waiting, error=_TOO_SOON, status=429)
        except TooManyMails:
            return _enter(request, accounts, waiting, error=TOO_MANY_MAILS, status=429)
        except WrongCode:
            waiting = await codes.waiting(handle, browser=browser)
            return _enter(request, accounts, waiting, error=_WRONG, status=401)
    except ProofGone:
        return _ask(request, accounts, read_onward(read_query(request)), email="", error=_GONE, status=410)


def _codes(request: Request[Services]) -> EmailCodes:
    codes = request.state["email_codes"]
    if codes is None:
        raise HTTPException(404)
    return codes


def _ask(
    request: Request[Services],
    accounts: Accounts,
    going: Onward,
    *,
    email: str,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "email_code_ask.html",
        status=status,
        transaction=going.handle is not None,
        csrf=csrf,
        action=with_carried("/login/code", going),
        login_url=with_carried("/login", going),
        email=email,
        error=error,
    )
    state["cookies"].set_form(response, fresh)
    return response


def _enter(
    request: Request[Services],
    accounts: Accounts,
    waiting: Waiting,
    *,
    notice: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state, going = request.state, waiting.onward
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "email_code.html",
        status=status,
        transaction=going.handle is not None,
        csrf=csrf,
        action=with_carried(request.scope["path"], going),
        login_url=with_carried("/login", going),
        again_url=with_carried("/login/code", going),
        waiting=waiting,
        notice=notice,
        error=error,
    )
    state["cookies"].set_form(response, fresh)
    return response
