"""The page of a sign-in link that an administrator made: opening it signs nobody in, its button does, once."""

from starlette.requests import Request
from starlette.responses import Response

from idp.services.sessions import Accounts
from idp.services.sign_in_link import SignInLinkGone
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_single_form
from idp.web.link_gone import link_gone
from idp.web.login import STALE, signed_in
from idp.web.services import Services, find_accounts


@page
async def sign_in_link(request: Request[Services]) -> Response:
    """Show whom the link signs in, and do it."""
    state, token = request.state, request.path_params["token"]
    accounts = await find_accounts(request)
    form = await read_single_form(request)
    try:
        user = await state["sign_in_links"].whose(token)
        if form is None:
            return _show(request, accounts, user.label)
        try:
            state["cookies"].check_form(request, form.get("csrf"), accounts.active)
        except StaleForm:
            return _show(request, accounts, user.label, error=STALE)
        new = await state["sign_in_links"].use(
            token,
            browser=state["cookies"].browser(request),
            accounts=accounts,
            user_agent=request.headers.get("user-agent"),
        )
    except SignInLinkGone:
        return link_gone(request, again_url=None)
    return signed_in(request, new, "/")


def _show(request: Request[Services], accounts: Accounts, label: str, *, error: str | None = None) -> Response:
    state = request.state
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "sign_in_link.html",
        status=200 if error is None else 403,
        csrf=csrf,
        action=request.scope["path"],
        user_label=label,
        error=error,
    )
    state["cookies"].set_form(response, fresh)
    return response
