"""End session endpoint (OpenID Connect RP-Initiated Logout 1.0 §2), with the frames of Front-Channel Logout 1.0 §3."""

from collections.abc import Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.origin import origin_of
from idp.domain.session import Session
from idp.protocol.parameters import Parameters
from idp.services.logout import LogoutRequest
from idp.services.sessions import Accounts
from idp.services.upstream_logout import UpstreamOffer
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.pages import allow_frames
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

# What an application may send; our own form carries it along. logout_hint and ui_locales change nothing here.
_PARAMETERS = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state")
_STALE = "Somebody signed in or out in another window meanwhile. This is who is signed in now: please answer again."


@page
async def logout(request: Request[Services]) -> Response:
    """Sign out of this browser: at once when the application proved that it means this session, else after asking."""
    state = request.state
    params = read_query(request)
    if request.method == "POST":
        form = await read_form(request)
        if form.get("csrf") is None:
            # From an application on another site, so without our Lax cookie: continued by a GET.
            form.check_single()
            return redirect(f"/logout?{urlencode(_carried(form))}")
        accounts = await find_accounts(request)
        checked = await state["logout"].check(params, accounts, state["cookies"].sessions(request))
        if accounts.all:
            # Where nobody is signed in any more, as after a second click, there is nothing to protect.
            try:
                state["cookies"].check_form(request, form.get("csrf"), accounts.active)
            except StaleForm:
                return _ask(request, checked, params, accounts, error=_STALE, status=403)
        return await _end(request, checked, accounts)
    accounts = await find_accounts(request)
    checked = await state["logout"].check(params, accounts, state["cookies"].sessions(request))
    if checked.decision.confirmed:
        return await _end(request, checked, accounts)
    return _ask(request, checked, params, accounts)


def _ask(
    request: Request[Services],
    checked: LogoutRequest,
    params: Parameters,
    accounts: Accounts,
    *,
    error: str | None = None,
    status: int = 200,
) -> Response:
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, accounts.active)
    carried = urlencode(_carried(params))
    response = request.state["pages"].render(
        "logout_confirm.html",
        status=status,
        transaction=True,
        csrf=csrf,
        action=f"/logout?{carried}" if carried else "/logout",
        client_name=None if checked.client is None else checked.client.client_name,
        user_labels=[account.user.label for account in accounts.all],
        error=error,
    )
    cookies.set_form(response, fresh)
    return response


async def _end(request: Request[Services], checked: LogoutRequest, accounts: Accounts) -> Response:
    decision = checked.decision
    return await end_sessions(
        request,
        accounts,
        decision.ending,
        location=decision.location,
        automatic=decision.meant and decision.location is not None,
        client_name=None if checked.client is None else checked.client.client_name,
    )


async def end_sessions(
    request: Request[Services],
    accounts: Accounts,
    ending: Sequence[Session],
    *,
    location: str | None,
    automatic: bool,
    client_name: str | None,
) -> Response:
    """End sessions, and go on to `location`, by way of a page where frames have to tell applications (§3).

    Unless that happens `automatic`ally, the page stays and offers the way on as a link, and where somebody is still
    signed in at the provider through which they came, to sign out there as well. Where an application wants its people
    back at once, that is not asked: it may want them back from signing out in the middle of something else.
    """
    state = request.state
    signed_out = await state["logout"].end(ending)
    held = await state["upstream_logout"].take(ending)
    for session in ending:
        accounts = accounts.without(session.id)
    if automatic and location is not None and not signed_out.frames:
        response = redirect(location)
    else:
        response = _signed_out(
            request,
            applications=signed_out.applications,
            frames=signed_out.frames,
            location=location,
            automatic=automatic,
            client_name=client_name,
            remaining=[account.user.label for account in accounts.all],
            upstreams=() if automatic else await state["upstream_logout"].offers(held),
        )
        allow_frames(response, dict.fromkeys(filter(None, map(origin_of, signed_out.frames))))
    state["cookies"].set_accounts(response, request, accounts)
    return response


@page
async def done(request: Request[Services]) -> Response:
    """Take back whom a provider has signed out (RP-Initiated Logout 1.0 §3); whatever it sends along is not looked at.

    Anybody can come here, so the page tells of the sign-out alone, which whoever was sent there has seen before.
    """
    return _signed_out(request)


def _signed_out(
    request: Request[Services],
    *,
    applications: Sequence[str] = (),
    frames: Sequence[str] = (),
    location: str | None = None,
    automatic: bool = False,
    client_name: str | None = None,
    remaining: Sequence[str] = (),
    upstreams: Sequence[UpstreamOffer] = (),
) -> Response:
    return request.state["pages"].render(
        "signed_out.html",
        applications=applications,
        frames=frames,
        location=location,
        automatic=automatic,
        client_name=client_name,
        remaining=remaining,
        upstreams=upstreams,
    )


def _carried(params: Parameters) -> dict[str, str]:
    return {name: value for name in _PARAMETERS if (value := params.get(name)) is not None}
