"""Recovery: the page that mails a link, and the one behind it that takes a new password."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.services.accounts import AccountRefused
from idp.services.input import InputRefused
from idp.services.login import MAX_IDENTIFIER_CHARS
from idp.services.mailed_proofs import ProofGone, TooManyMails
from idp.services.recovery import Recovery
from idp.services.upstream_visits import Onward
from idp.web.cookies import StaleForm
from idp.web.email_code import TOO_MANY_MAILS
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query, read_single_form
from idp.web.link_gone import link_gone
from idp.web.login import STALE
from idp.web.onward import read_onward, with_carried
from idp.web.password_change import STRENGTHS
from idp.web.services import Services


@page
async def recover(request: Request[Services]) -> Response:
    """Ask for an address; the answer is the same whoever has it."""
    recovery, going = _recovery(request), read_onward(read_query(request))
    if request.method != "POST":
        hint = read_query(request).get("login_hint") or ""
        return _ask(request, going, email=hint[:MAX_IDENTIFIER_CHARS])
    form = await read_form(request)
    form.check_single()
    email = form.get("email") or ""
    try:
        # The form belongs to whoever has lost their way, whoever is signed in in this browser.
        request.state["cookies"].check_form(request, form.get("csrf"), None)
        browser = request.state["cookies"].browser(request) or ""
        sent_to = await recovery.begin(email, going, browser=browser)
    except StaleForm:
        return _ask(request, going, email=email, errors={"": STALE}, status=403)
    except InputRefused as refused:
        return _ask(request, going, email=email, errors=refused.errors, status=422)
    except TooManyMails:
        return _ask(request, going, email=email, errors={"": TOO_MANY_MAILS}, status=429)
    return request.state["pages"].render(
        "mail_sent.html", email=sent_to, for_what="recovery", login_url=with_carried("/login", going)
    )


@page
async def reset(request: Request[Services]) -> Response:
    """Take the new password; opening the link changes nothing."""
    recovery, token = _recovery(request), request.path_params["token"]
    form = await read_single_form(request)
    try:
        user = await recovery.whose(token)
        if form is None:
            return _form(request, user.label)
        try:
            request.state["cookies"].check_form(request, form.get("csrf"), None)
            strength, onward = await recovery.finish(token, form.get("password") or "")
        except StaleForm:
            return _form(request, user.label, errors={"": STALE}, status=403)
        except AccountRefused as refused:
            return _form(request, user.label, errors=refused.errors, status=422)
    except ProofGone:
        return link_gone(request, again_url="/recover")
    return request.state["pages"].render(
        "recover_done.html", strength=STRENGTHS[strength], login_url=with_carried("/login", onward)
    )


def _recovery(request: Request[Services]) -> Recovery:
    recovery = request.state["recovery"]
    if recovery is None:
        raise HTTPException(404)
    return recovery


def _ask(
    request: Request[Services], going: Onward, *, email: str, errors: dict[str, str] | None = None, status: int = 200
) -> Response:
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, None)
    response = request.state["pages"].render(
        "recover.html",
        status=status,
        csrf=csrf,
        action=with_carried("/recover", going),
        login_url=with_carried("/login", going),
        email=email,
        errors=errors or {},
    )
    cookies.set_form(response, fresh)
    return response


def _form(
    request: Request[Services], label: str, *, errors: dict[str, str] | None = None, status: int = 200
) -> Response:
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, None)
    response = request.state["pages"].render(
        "recover_password.html",
        status=status,
        csrf=csrf,
        action=request.scope["path"],
        user_label=label,
        errors=errors or {},
    )
    cookies.set_form(response, fresh)
    return response
