"""Google's One Tap: the form that Google's script posts from our sign-in page, with an ID token in it."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.opaque import same
from idp.protocol.parameters import Parameters
from idp.services.upstream_sign_in import ArrivalRefused
from idp.web.cookies import ForgedForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.login import STALE, login_form
from idp.web.onward import read_onward
from idp.web.services import Services, find_accounts
from idp.web.upstream import arrived
from idp.web.upstream_refused import refused_page

# Google's script writes both (https://developers.google.com/identity/gsi/web/guides/verify-google-id-token).
_CSRF = "g_csrf_token"


@page
async def one_tap(request: Request[Services]) -> Response:
    """Take the ID token."""
    state = request.state
    provider = await state["one_tap"].provider()
    if provider is None or request.path_params["provider"] != provider.name:
        raise HTTPException(404)
    _check_origin(request)
    query = read_query(request)
    accounts = await find_accounts(request)
    form = await read_form(request)
    form.check_single()
    handle = query.get("interaction")
    browser = state["cookies"].browser(request)
    if browser is None or not _is_doubly_sent(request, form):
        pending = None if handle is None else (await state["authorization"].pending(handle)).request
        return await login_form(request, query, accounts, pending, error=STALE, status=403)
    try:
        arrival = await state["one_tap"].arrive(
            provider,
            form.get("credential") or "",
            read_onward(query),
            browser=browser,
            accounts=accounts,
            user_agent=request.headers.get("user-agent"),
        )
    except ArrivalRefused as refused:
        return await refused_page(request, refused)
    return arrived(request, arrival)


def _check_origin(request: Request[Services]) -> None:
    """Check that the form comes from a page of ours.

    Our own form token cannot be in it. But no browser in which Google's script runs keeps the origin of a POST back.

    Raises:
        ForgedForm: it comes from another site, or does not say from where.
    """
    if request.headers.get("origin") != request.state["issuer"]:
        raise ForgedForm
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise ForgedForm


def _is_doubly_sent(request: Request[Services], form: Parameters) -> bool:
    """Whether the same token of Google's script came as a cookie and in the form."""
    cookie, field = request.cookies.get(_CSRF), form.get(_CSRF)
    return bool(cookie) and bool(field) and same(cookie or "", field or "")
