"""Pages of one's own account: the applications that may use it."""

from starlette.requests import Request
from starlette.responses import Response

from idp.services.sessions import Accounts, SignedIn
from idp.web.application import host_of, titles_of
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_PATH = "/account/apps"
_STALE = "Somebody signed in or out in another window meanwhile. These are the applications of who is signed in now."
_WITHDRAWN = "Done. The application cannot use your account any more."


@page
async def applications(request: Request[Services]) -> Response:
    """List the applications, and withdraw what one of them was given."""
    state = request.state
    accounts = await find_accounts(request)
    if accounts.active is None:
        return redirect("/login")
    if request.method != "POST":
        return await _list(request, accounts, accounts.active)
    form = await read_form(request)
    form.check_single()
    try:
        state["cookies"].check_form(request, form.get("csrf"), accounts.active)
    except StaleForm:
        return await _list(request, accounts, accounts.active, error=_STALE, status=403)
    await state["applications"].withdraw(accounts.active.user.id, form.get("client_id") or "")
    # No redirect: an address that says "Done" would say it to whoever follows a link to it. A reload does no harm.
    return await _list(request, accounts, accounts.active, notice=_WITHDRAWN)


async def _list(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    *,
    notice: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    held = await state["applications"].of(signed_in.user.id)
    last_used = await state["applications"].last_used(signed_in.user.id)
    logos = await state["logos"].urls(application.client for application in held)
    csrf, fresh = state["cookies"].form_token(request, signed_in)
    response = state["pages"].render(
        "account/apps.html",
        status=status,
        csrf=csrf,
        action=_PATH,
        user_label=signed_in.user.label,
        error=error,
        notice=notice,
        applications=[
            {
                "client_id": application.client.client_id,
                "name": application.client.client_name,
                "logo": logos.get(application.client.client_id),
                "unverified": application.client.self_registered,
                "host": next(map(host_of, application.client.redirect_uris), None),
                "trusted": application.client.trusted,
                "titles": titles_of(application.tokens),
                "since": application.since,
                "last_used": last_used.get(application.client.client_id),
            }
            for application in held
        ],
    )
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response
