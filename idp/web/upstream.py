"""Signing in through another provider: the way there, the way back, and what has to be answered then."""

from dataclasses import replace
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.domain.provider import Provider
from idp.protocol.upstream import UpstreamFault, UpstreamRefused
from idp.services.sessions import Accounts, NotRecent
from idp.services.upstream_arrival import link_of
from idp.services.upstream_sign_in import Arrival, ArrivalRefused, Then
from idp.services.upstream_visits import Onward, Purpose, Returned, VisitGone
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.login import STALE, login_form, onward_path
from idp.web.onward import carried, read_onward, sign_in_path, with_carried
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts
from idp.web.upstream_refused import refused_page

_LINKED = "/account/linked"


@page
async def leave(request: Request[Services]) -> Response:
    """Go to a provider; the form stands on the sign-in page."""
    state = request.state
    query = read_query(request)
    provider = await _provider(request, read_onward(query))
    if isinstance(provider, Response):
        return provider
    if request.method != "POST":
        return redirect(with_carried("/login", read_onward(query)))
    accounts = await find_accounts(request)
    form = await read_form(request)
    form.check_single()
    handle = query.get("interaction")
    try:
        state["cookies"].check_form(request, form.get("csrf"), accounts.active)
    except StaleForm:
        pending = None if handle is None else (await state["authorization"].pending(handle)).request
        return await login_form(request, query, accounts, pending, error=STALE, status=403)
    return await depart(request, provider, read_onward(query), accounts)


async def depart(
    request: Request[Services],
    provider: Provider,
    going: Onward,
    accounts: Accounts,
    *,
    linking: bool = False,
) -> Response:
    """Send the browser to a provider, whose form was checked; `linking` connects the active account there."""
    state = request.state
    try:
        url = await state["upstream_sign_in"].leave(
            provider,
            going,
            browser=state["cookies"].browser(request) or "",
            active=accounts.active,
            linking=linking,
        )
    except ArrivalRefused as refused:
        return await refused_page(request, refused)
    return redirect(url)


@page
async def callback(request: Request[Services]) -> Response:
    """Come back from a provider (RFC 6749 §4.1.2)."""
    state = request.state
    provider = await _provider(request, Onward())
    if isinstance(provider, Response):
        return provider
    answer = read_query(request)
    accounts = await find_accounts(request)
    # What stands there twice is no answer of a provider's (RFC 6749 §3.1).
    params = {name: value for name, value in answer.values.items() if name not in answer.repeated}
    try:
        arrival = await state["upstream_sign_in"].arrive(
            provider,
            params,
            browser=state["cookies"].browser(request),
            accounts=accounts,
            user_agent=request.headers.get("user-agent"),
        )
    except ArrivalRefused as refused:
        return await refused_page(request, refused)
    return arrived(request, arrival)


def arrived(request: Request[Services], arrival: Arrival) -> Response:
    """Return the answer to somebody who came back."""
    response = redirect(_path_of(arrival))
    if arrival.new is not None:
        request.state["cookies"].sign_in(response, request, arrival.new.cookie, arrival.new.others)
    return response


def _path_of(arrival: Arrival) -> str:
    going, name = arrival.onward, arrival.provider.name
    match arrival.then:
        case Then.ONWARD:
            return onward_path(going.handle, going.next_path)
        case Then.PASSWORD:
            proof = {
                **carried(replace(going, again=False, prove=True)),
                "proof": "1",
                "login_hint": arrival.label or "",
            }
            return f"/login?{urlencode(proof)}"
    return f"/login/{name}/{arrival.then}/{arrival.handle}"


@page
async def link(request: Request[Services]) -> Response:
    """Ask whether two accounts are to be linked, once the one here has been proven."""
    state = request.state
    provider = await _provider(request, Onward())
    if isinstance(provider, Response):
        return provider
    accounts = await find_accounts(request)
    try:
        returned = await _returned(request, provider, Purpose.LINK)
        if request.method != "POST":
            return await _ask_to_link(request, provider, returned, accounts)
        form = await read_form(request)
        form.check_single()
        try:
            state["cookies"].check_form(request, form.get("csrf"), accounts.active)
            if accounts.active is None:
                raise NotRecent
            handle = request.path_params["handle"]
            if form.get("decision") != "link":
                await state["linked_accounts"].leave_unlinked(handle, returned, accounts.active)
                return redirect(onward_path(returned.onward.handle, returned.onward.next_path))
            await state["linked_accounts"].link(provider, handle, returned, accounts.active)
        except StaleForm:
            return await _ask_to_link(request, provider, returned, accounts, error=STALE)
        except NotRecent:
            return await _ask_to_link(request, provider, returned, accounts)
    except VisitGone:
        return await refused_page(request, ArrivalRefused(UpstreamFault.LOST, provider, Onward()))
    except UpstreamRefused as refused:
        return await refused_page(request, ArrivalRefused(refused.fault, provider, Onward(next_path=_LINKED)))
    return redirect(onward_path(returned.onward.handle, returned.onward.next_path))


@page
async def address(request: Request[Services]) -> Response:
    """Ask what becomes of an address that changed at the provider."""
    state = request.state
    provider = await _provider(request, Onward())
    if isinstance(provider, Response):
        return provider
    accounts = await find_accounts(request)
    try:
        returned = await _returned(request, provider, Purpose.ADDRESS)
        if accounts.active is None or accounts.active.user.id != returned.user_id:
            raise VisitGone
        taken, error = await state["linked_accounts"].is_taken(returned), None
        if request.method == "POST":
            form = await read_form(request)
            form.check_single()
            try:
                state["cookies"].check_form(request, form.get("csrf"), accounts.active)
                use = form.get("decision") == "use" and not taken
                handle = request.path_params["handle"]
                await state["linked_accounts"].settle_address(handle, returned, accounts.active, use=use)
                return redirect(onward_path(returned.onward.handle, returned.onward.next_path))
            except StaleForm:
                error = STALE
    except VisitGone:
        return await refused_page(request, ArrivalRefused(UpstreamFault.LOST, provider, Onward()))
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render(
        "changed_address.html",
        status=200 if error is None else 403,
        transaction=True,
        csrf=csrf,
        action=request.scope["path"],
        error=error,
        provider=provider.display_name,
        old=accounts.active.user.email,
        new=returned.identity.email,
        taken=taken,
        user_label=accounts.active.user.label,
    )
    state["cookies"].set_form(response, fresh)
    return response


async def _ask_to_link(
    request: Request[Services], provider: Provider, returned: Returned, accounts: Accounts, *, error: str | None = None
) -> Response:
    """Ask for a proof of the account here, or, once it was given, whether to link it."""
    state, active = request.state, accounts.active
    user = await state["linked_accounts"].linkable(returned)
    proven = (
        active is not None
        and (user is None or user.id == active.user.id)
        and state["sessions"].is_recent(active.session)
    )
    csrf, fresh = state["cookies"].form_token(request, active)
    path = request.scope["path"]
    hint = {} if user is None else {"login_hint": user.label}
    proving = sign_in_path(path, prove=True)
    response = state["pages"].render(
        "link_account.html",
        status=200 if error is None else 403,
        transaction=True,
        csrf=csrf,
        action=path,
        error=error,
        step="confirm" if proven else "prove",
        provider=provider.display_name,
        kind=provider.kind,
        upstream_label=link_of(provider, returned.identity, "", now=returned.returned_at).label,
        user_label=active.user.label if proven and active is not None else None if user is None else user.label,
        recreated=returned.recreated,
        sign_in_url=f"{proving}&{urlencode(hint)}" if hint else proving,
    )
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response


async def _returned(request: Request[Services], provider: Provider, purpose: Purpose) -> Returned:
    """Return who came back.

    Raises:
        VisitGone: nobody did in this browser, or to answer something else.
    """
    state = request.state
    browser = state["cookies"].browser(request) or ""
    returned = await state["upstream_visits"].held(provider.name, request.path_params["handle"], browser=browser)
    if returned.purpose is not purpose:
        raise VisitGone
    return returned


async def _provider(request: Request[Services], going: Onward) -> Provider | Response:
    """Return the provider, or the page that says that it is not offered any more.

    Raises:
        HTTPException: 404, there is no such provider.
    """
    name = request.path_params["provider"]
    providers = {provider.name: provider for provider in await request.state["providers"].all()}
    if name not in providers:
        raise HTTPException(404)
    provider = providers[name]
    if not provider.active:
        return await refused_page(request, ArrivalRefused(UpstreamFault.NOT_OFFERED, provider, going))
    return provider
