"""The pages of how one's account is protected: an app that makes codes, and recovery codes."""

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.parameters import Parameters
from idp.services.second_factor_setup import NotStrong, Setup, SetupGone
from idp.services.second_factors import SECURITY_PATH, PendingGone, WrongCode
from idp.services.sessions import Accounts, NewSession, NotRecent, SignedIn
from idp.web.account_page import account_page, show_account_page
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form
from idp.web.oauth.authorize import resume_path
from idp.web.onward import second_factor_path, sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_STALE = "Somebody signed in or out in another window meanwhile. This is the account of who is signed in now."
_REMOVED = "Done. Signing in takes no code any more, and your recovery codes are gone."
_NOTHING = "There is nothing to take away. This is how things are now."
_WRONG = "That code is not right. Enter the one that the app shows now; if that fails, check the clock of your device."
_TOO_OLD = "The page had been open for too long. Scan the new code: the app can forget the one before."


async def _overview(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    *,
    notice: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    return show_account_page(
        request,
        accounts,
        signed_in,
        "account/security.html",
        action=SECURITY_PATH,
        status=status,
        error=error,
        notice=notice,
        held=await state["second_factors"].of(signed_in.user),
    )


@account_page(SECURITY_PATH, _overview, stale=_STALE)
async def security(request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters) -> Response:
    """Show how the account is protected, take the app away, or make new recovery codes."""
    setup = request.state["second_factor_setup"]
    try:
        if form.get("new_codes") is not None:
            codes = await setup.new_codes(signed_in)
            if codes:
                return _codes_page(request, signed_in, codes, SECURITY_PATH)
        elif form.get("remove") is not None and await setup.remove(signed_in):
            # No redirect: an address that says "Done" would say it to whoever follows a link to it.
            return await _overview(request, accounts, signed_in, notice=_REMOVED)
    except (NotRecent, NotStrong) as needed:
        return _prove_more(needed, SECURITY_PATH)
    return await _overview(request, accounts, signed_in, error=_NOTHING, status=409)


@page
async def totp(request: Request[Services]) -> Response:
    """Set an app up: show what it scans, and take its first code; perhaps within an authorization request."""
    state, path = request.state, request.scope["path"]
    form = await read_form(request) if request.method == "POST" else None
    accounts = await find_accounts(request)
    signed_in = await _whose(request, accounts)
    if signed_in is None:
        return redirect(sign_in_path(path))
    try:
        if form is None:
            return _setup_page(request, accounts, signed_in, await state["second_factor_setup"].begin(signed_in))
        return await _confirm(request, accounts, signed_in, form)
    except (NotRecent, NotStrong) as needed:
        return _prove_more(needed, path)
    except PendingGone:
        return redirect(sign_in_path(path))


async def _confirm(request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters) -> Response:
    state, setup = request.state, request.state["second_factor_setup"]
    form.check_single()
    token = form.get("setup") or ""
    try:
        state["cookies"].check_form(request, form.get("csrf"), accounts.active)
        confirmed = await setup.confirm(
            signed_in, token, form.get("code") or "", user_agent=request.headers.get("user-agent")
        )
    except StaleForm:
        return _setup_page(request, accounts, signed_in, await setup.begin(signed_in), error=_STALE, status=403)
    except SetupGone:
        return _setup_page(request, accounts, signed_in, await setup.begin(signed_in), error=_TOO_OLD, status=409)
    except WrongCode:
        opened = setup.reopen(signed_in, token)
        return _setup_page(request, accounts, signed_in, opened, error=_WRONG, status=400)
    handle = request.path_params.get("interaction")
    onward = SECURITY_PATH if handle is None else resume_path(handle)
    codes = confirmed.recovery_codes
    response = _codes_page(request, signed_in, codes, onward) if codes else redirect(onward)
    others = tuple(account for account in accounts.all if account.user.id != signed_in.user.id)
    new = NewSession(confirmed.cookie, others)
    state["cookies"].sign_in(response, request, new.cookie, new.others)
    return response


async def _whose(request: Request[Services], accounts: Accounts) -> SignedIn | None:
    """Return whose app it becomes: of the account that an authorization request waits for, or of the active one."""
    handle = request.path_params.get("interaction")
    asked = None if handle is None else await request.state["step_up"].asked(handle, accounts)
    return accounts.active if asked is None else asked.signed_in


def _setup_page(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    setup: Setup,
    *,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "account/totp.html",
        status=status,
        csrf=csrf,
        action=request.scope["path"],
        user_label=signed_in.user.label,
        error=error,
        setup=setup.token,
        secret=[setup.secret[start : start + 4] for start in range(0, len(setup.secret), 4)],
        picture=_qr_code(setup.uri),
        back_url=SECURITY_PATH,
    )
    state["cookies"].set_form(response, fresh)
    return response


def _codes_page(request: Request[Services], signed_in: SignedIn, codes: tuple[str, ...], onward: str) -> Response:
    """Show recovery codes, this once; a file of them is in the page itself, so that nothing has to keep them."""
    return request.state["pages"].render(
        "account/recovery_codes.html",
        user_label=signed_in.user.label,
        issuer=request.state["issuer"],
        codes=codes,
        onward=onward,
    )


def _prove_more(needed: NotRecent | NotStrong, path: str) -> Response:
    return redirect(sign_in_path(path, again=True) if isinstance(needed, NotRecent) else second_factor_path(path))


def _qr_code(uri: str) -> str:
    """Return a picture for `src`, which the page's policy allows to be data; black on white, whatever the scheme."""
    # Loaded with the first one.
    import segno

    return segno.make(uri, error="m", micro=False).svg_data_uri(scale=4, border=4, dark="#000", light="#fff")
