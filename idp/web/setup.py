"""The one-time page that creates the first super_admin."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from idp.services.accounts import AccountRefused
from idp.services.setup import SetupClosed
from idp.web.endpoint import page
from idp.web.forms import read_form
from idp.web.services import Services


@page
async def setup(request: Request[Services]) -> Response:
    """Show the form, and take it."""
    state = request.state
    token = request.path_params["token"]
    if request.method != "POST":
        if not await state["setup"].is_open(token):
            raise SetupClosed
        return _form(request, {}, {})
    form = await read_form(request)
    form.check_single()
    # The form belongs to the link, whoever is signed in in this browser.
    state["cookies"].check_form(request, form.get("csrf"), None)
    email, name = form.get("email") or "", form.get("name") or ""
    try:
        await state["setup"].create_super_admin(token, email=email, name=name, password=form.get("password") or "")
    except AccountRefused as refused:
        return _form(request, refused.errors, {"email": email, "name": name})
    return state["pages"].render("setup_done.html")


def _form(request: Request[Services], errors: Mapping[str, str], values: Mapping[str, str]) -> Response:
    cookies = request.state["cookies"]
    csrf, fresh = cookies.form_token(request, None)
    status, action = 422 if errors else 200, request.scope["path"]
    response = request.state["pages"].render(
        "setup.html", status=status, csrf=csrf, action=action, errors=errors, values=values
    )
    cookies.set_form(response, fresh)
    return response
