"""The consent page: what the application will learn, with the actual values."""

from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.claims import lab_claims, user_claims
from idp.services.authorization import ConsentPage
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.oauth.authorize import proceed, resume_path
from idp.web.responses import redirect
from idp.web.services import Services, find_signed_in

_TITLES = {
    "openid": "Who you are",
    "profile": "Your name and profile",
    "email": "Your email",
    "address": "Your postal address",
    "phone": "Your phone number",
    "labs": "Your labs and your role in each",
    "groups": "Your labs as a list of groups",
    "offline_access": "Stay connected",
}
_NOTHING = "Nothing is on file"


@page
async def consent(request: Request[Services]) -> Response:
    """Show what is asked for, and take the decision."""
    state = request.state
    handle = read_query(request).get("interaction") or ""
    signed_in = await find_signed_in(request)
    if signed_in is None:
        return redirect(resume_path(handle))
    if request.method == "POST":
        form = await read_form(request)
        form.check_single()
        state["cookies"].check_form(request, form.get("csrf"), signed_in)
        allowed = form.get("decision") == "allow"
        return proceed(await state["authorization"].decide(handle, signed_in, allowed=allowed))
    shown = await state["authorization"].consent_page(handle, signed_in)
    csrf, fresh = state["cookies"].form_token(request, signed_in)
    query = urlencode({"interaction": handle})
    client = shown.request.client
    response = state["pages"].render(
        "consent.html",
        transaction=True,
        csrf=csrf,
        action=f"/consent?{query}",
        client={
            "name": client.client_name,
            "host": urlsplit(shown.request.redirect_uri.uri).netloc or shown.request.redirect_uri.uri,
            "uri": client.client_uri,
        },
        user_label=signed_in.user.label,
        switch_account_url=f"/login?{query}",
        items=[(_TITLES.get(scope, scope), _value(scope, shown, request), scope) for scope in shown.request.scope],
    )
    state["cookies"].set_form(response, fresh)
    return response


def _value(scope: str, shown: ConsentPage, request: Request[Services]) -> str:
    user, client = shown.signed_in.user, shown.request.client
    if scope == "openid":
        return "An identifier of your account"
    if scope == "offline_access":
        return "Even when you are away"
    if scope in {"labs", "groups"}:
        claims = lab_claims(shown.memberships, client, [scope], now=request.state["clock"]())
        held = claims.get("groups") or [f"{lab['name']} ({lab['role']})" for lab in claims.get("labs", ())]
        return ", ".join(held) or "You are in no lab that this application may see"
    if scope not in _TITLES:
        return ""
    claims = user_claims(user, [scope])
    texts = [str(value) for name, value in claims.items() if isinstance(value, str)]
    texts += [str(part) for value in claims.values() if isinstance(value, dict) for part in value.values()]
    return " · ".join(texts) or _NOTHING
