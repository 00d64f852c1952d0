"""The first page."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.initiate_login import initiate_login_address
from idp.services.sessions import SignedIn
from idp.web.application import known_as
from idp.web.endpoint import page
from idp.web.select_account import list_accounts, select_account_path
from idp.web.services import Services, find_accounts


@page
async def home(request: Request[Services]) -> Response:
    """Greet: sign in or out, one's applications, other accounts of this browser, and in demo mode its sign-ins."""
    state = request.state
    accounts = await find_accounts(request)
    demo = state["demo"]
    csrf, fresh = state["cookies"].form_token(request, accounts.active) if accounts.others else (None, None)
    response = state["pages"].render(
        "home.html",
        user_label=None if accounts.active is None else accounts.active.user.label,
        administers=accounts.active is not None and bool(accounts.active.user.roles),
        applications=[] if accounts.active is None else await _applications(request, accounts.active),
        others=list_accounts(accounts.others, now=state["clock"]()),
        csrf=csrf,
        action=select_account_path(None),
        demo=[] if demo is None else demo.accounts,
        rp_url=None if demo is None else demo.rp_url,
    )
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response


async def _applications(request: Request[Services], signed_in: SignedIn) -> list[dict[str, Any]]:
    """Return those that can be used now, each with where it starts a sign-in, or else where it introduces itself.

    One that registered itself may change its name and logo at any time, to whatever looks like our own words: it is
    shown as the host that it leads to.
    """
    held = await request.state["applications"].of(signed_in.user.id)
    clients = [application.client for application in held if application.client.active]
    logos = await request.state["logos"].urls(client for client in clients if not client.self_registered)
    return [
        {
            "title": known_as(client),
            "unverified": client.self_registered,
            "logo": logos.get(client.client_id),
            "uri": initiate_login_address(client, issuer=request.state["issuer"])
            or (None if client.self_registered else client.client_uri),
        }
        for client in clients
    ]
