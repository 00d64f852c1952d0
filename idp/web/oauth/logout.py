"""End session endpoint (OpenID Connect RP-Initiated Logout 1.0 §2)."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.parameters import Parameters
from idp.services.logout import LogoutRequest
from idp.services.sessions import SignedIn
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.responses import redirect
from idp.web.services import Services, find_signed_in

# What an application may send; our own form carries it along.
_PARAMETERS = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state")


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
        signed_in = await find_signed_in(request)
        state["cookies"].check_form(request, form.get("csrf"), signed_in)
        return await _end(request, await state["logout"].check(params, signed_in), signed_in)
    signed_in = await find_signed_in(request)
    checked = await state["logout"].check(params, signed_in)
    if checked.decision.confirmed:
        return await _end(request, checked, signed_in)
    return _ask(request, checked, params, signed_in)


def _ask(
    request: Request[Services], checked: LogoutRequest, params: Parameters, signed_in: SignedIn | None
) -> Response:
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, signed_in)
    carried = urlencode(_carried(params))
    response = request.state["pages"].render(
        "logout_confirm.html",
        transaction=True,
        csrf=csrf,
        action=f"/logout?{carried}" if carried else "/logout",
        client_name=None if checked.client is None else checked.client.client_name,
        user_label="" if signed_in is None else signed_in.user.label,
    )
    cookies.set_form(response, fresh)
    return response


async def _end(request: Request[Services], checked: LogoutRequest, signed_in: SignedIn | None) -> Response:
    state = request.state
    await state["logout"].end(checked, signed_in)
    location = checked.decision.location
    response = redirect(location) if location is not None else state["pages"].render("signed_out.html")
    state["cookies"].clear_session(response)
    return response


def _carried(params: Parameters) -> dict[str, str]:
    return {name: value for name in _PARAMETERS if (value := params.get(name)) is not None}
