"""Signing up: the form, and the page behind the mailed link that makes the account."""

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.services.accounts import AccountRefused
from idp.services.mailed_proofs import ProofGone, TooManyMails
from idp.services.sign_up_by_mail import AccountTaken, Pending, SignUpByMail, WrongPassword
from idp.services.upstream_visits import Onward
from idp.web.cookies import StaleForm
from idp.web.email_code import TOO_MANY_MAILS
from idp.web.endpoint import page
from idp.web.forms import read_query, read_single_form
from idp.web.link_gone import link_gone
from idp.web.login import STALE, onward_path, signed_in
from idp.web.onward import read_onward, with_carried
from idp.web.services import Services, find_accounts

_WRONG_PASSWORD = "That is not the password that was chosen when signing up."


@page
async def sign_up(request: Request[Services]) -> Response:
    """Take a sign-up; the answer is the same whoever has the address."""
    service, going = _service(request), read_onward(read_query(request))
    form = await read_single_form(request)
    if form is None or not service.open:
        return _form(request, service, going, {}, {})
    email, name = form.get("email") or "", form.get("name") or ""
    values = {"email": email, "name": name}
    try:
        # The form belongs to whoever comes anew, whoever is signed in in this browser.
        request.state["cookies"].check_form(request, form.get("csrf"), None)
        browser = request.state["cookies"].browser(request) or ""
        sent_to = await service.begin(
            email=email, name=name, password=form.get("password") or "", onward=going, browser=browser
        )
    except StaleForm:
        return _form(request, service, going, values, {"": STALE}, status=403)
    except AccountRefused as refused:
        return _form(request, service, going, values, refused.errors, status=422)
    except TooManyMails:
        return _form(request, service, going, values, {"": TOO_MANY_MAILS}, status=429)
    return request.state["pages"].render(
        "mail_sent.html", email=sent_to, for_what="sign_up", login_url=with_carried("/login", going)
    )


@page
async def verify(request: Request[Services]) -> Response:
    """Make the account; opening the link does not, since programs that look through mail open links."""
    service, token, state = _service(request), request.path_params["token"], request.state
    browser, form = state["cookies"].browser(request), await read_single_form(request)
    try:
        pending = await service.pending(token, browser=browser)
        if form is None:
            return _confirm(request, pending)
        try:
            state["cookies"].check_form(request, form.get("csrf"), None)
            user, new, onward = await service.finish(
                token,
                form.get("password") or "",
                browser=browser,
                accounts=await find_accounts(request),
                user_agent=request.headers.get("user-agent"),
            )
        except StaleForm:
            return _confirm(request, pending, errors={"": STALE}, status=403)
        except WrongPassword:
            return _confirm(request, pending, errors={"password": _WRONG_PASSWORD}, status=401)
    except (ProofGone, AccountTaken):
        return link_gone(request, again_url="/signup")
    if new is None:
        # What began in another browser goes on there.
        path = with_carried("/login", Onward(next_path=onward.next_path))
        return state["pages"].render("sign_up_done.html", email=user.label, login_url=path)
    return signed_in(request, new, onward_path(onward.handle, onward.next_path))


def _service(request: Request[Services]) -> SignUpByMail:
    service = request.state["sign_up_by_mail"]
    if service is None:
        raise HTTPException(404)
    return service


def _form(
    request: Request[Services],
    service: SignUpByMail,
    going: Onward,
    values: Mapping[str, str],
    errors: Mapping[str, str],
    *,
    status: int = 200,
) -> Response:
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, None)
    response = request.state["pages"].render(
        "signup.html",
        status=status if service.open else 403,
        csrf=csrf,
        action=with_carried("/signup", going),
        login_url=with_carried("/login", going),
        open=service.open,
        domains=service.domains,
        by_invitation=service.offered("/invitations/") and not service.offered(None),
        values=values,
        errors=errors,
    )
    cookies.set_form(response, fresh)
    return response


def _confirm(
    request: Request[Services], pending: Pending, *, errors: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, None)
    response = request.state["pages"].render(
        "verify_email.html",
        status=status,
        transaction=pending.onward.handle is not None,
        csrf=csrf,
        action=request.scope["path"],
        pending=pending,
        errors=errors or {},
    )
    cookies.set_form(response, fresh)
    return response
