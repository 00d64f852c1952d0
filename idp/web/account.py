"""Pages of one's own account: the applications that may use it."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.parameters import Parameters
from idp.services.sessions import Accounts, SignedIn
from idp.web.account_page import account_page, show_account_page
from idp.web.application import MAX_LAB_FIELDS, describe, find_providers, host_of, ticked_labs, titles_of
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_PATH = "/account/apps"
_STALE = "Somebody signed in or out in another window meanwhile. These are the applications of who is signed in now."
_SHARED = "Saved. What you took away is told no more; what you added is told when you sign in there next."
_WITHDRAWN = "Done. The application cannot use your account any more."


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
    providers = await find_providers(request)
    logos = await state["logos"].urls(application.client for application in held)
    return show_account_page(
        request,
        accounts,
        signed_in,
        "account/apps.html",
        action=_PATH,
        status=status,
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
                "titles": titles_of(application.tokens, providers),
                "shares_labs": application.labs is not None,
                "since": application.since,
                "last_used": last_used.get(application.client.client_id),
            }
            for application in held
        ],
    )


@account_page(_PATH, _list, stale=_STALE)
async def applications(
    request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters
) -> Response:
    """List the applications, and withdraw what one of them was given."""
    await request.state["applications"].withdraw(signed_in.user.id, form.get("client_id") or "")
    # No redirect: an address that says "Done" would say it to whoever follows a link to it. A reload does no harm.
    return await _list(request, accounts, signed_in, notice=_WITHDRAWN)


@page
async def application_labs(request: Request[Services]) -> Response:
    """Show which labs an application may be told of, and change that."""
    state = request.state
    accounts = await find_accounts(request)
    if accounts.active is None:
        return redirect(sign_in_path(_PATH))
    client_id = read_query(request).get("client_id") or ""
    error = notice = None
    if request.method == "POST":
        form = await read_form(request, max_fields=MAX_LAB_FIELDS)
        form.check_single()
        try:
            state["cookies"].check_form(request, form.get("csrf"), accounts.active)
            later = form.get("later_labs") is not None
            await state["applications"].share_labs(
                accounts.active.user.id, client_id, ticked_labs(form), later_labs=later
            )
            notice = _SHARED
        except StaleForm:
            error = _STALE
    shared = await state["applications"].labs(accounts.active.user.id, client_id)
    if shared is None:
        return redirect(_PATH)
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "account/app_labs.html",
        status=200 if error is None else 403,
        csrf=csrf,
        action=f"{_PATH}/labs?{urlencode({'client_id': client_id})}",
        user_label=accounts.active.user.label,
        error=error,
        notice=notice,
        client=await describe(request, shared.client),
        labs=shared.labs,
        later_labs=shared.later_labs,
    )
    state["cookies"].set_form(response, fresh)
    return response
