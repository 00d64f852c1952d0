"""The consent page: what the application will learn, with the actual values."""

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.claims import SCOPE_CLAIMS, user_claims
from idp.domain.lab_scope import LAB_API_SCOPES, LAB_SCOPES, is_about_labs
from idp.domain.provider import Provider
from idp.protocol.parameters import Parameters
from idp.services.consent import ConsentChanged, ConsentPage, Decision
from idp.web.application import (
    MAX_LAB_FIELDS,
    claim_of,
    describe,
    find_providers,
    host_of,
    resource_of,
    scope_of,
    ticked_labs,
    title_of,
)
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form, read_query
from idp.web.oauth.authorize import proceed, resume_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_CHANGED = "Something changed while this page was open. Please look at it again before you decide."
_NOTHING = "Nothing is on file"


@page
async def consent(request: Request[Services]) -> Response:
    """Show what is asked for, and take the decision."""
    state = request.state
    handle = read_query(request).get("interaction") or ""
    accounts = await find_accounts(request)
    status = 200
    if request.method == "POST" and accounts.all:
        form = await read_form(request, max_fields=MAX_LAB_FIELDS)
        form.check_single()
        try:
            state["cookies"].check_form(request, form.get("csrf"), accounts.active)
            return proceed(request, await state["consents"].decide(handle, accounts, _decision(form)))
        except StaleForm:
            status = 403
        except ConsentChanged:
            status = 409
    shown = await state["consents"].page(handle, accounts)
    if shown is None:
        return redirect(resume_path(handle))
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    query = urlencode({"interaction": handle})
    providers = await find_providers(request)
    response = state["pages"].render(
        "consent.html",
        status=status,
        transaction=True,
        notice=None if status == 200 else _CHANGED,
        csrf=csrf,
        mark=shown.mark,
        action=f"/consent?{query}",
        client=await describe(request, shown.request.client),
        host=host_of(shown.request.redirect_uri.uri),
        user_label=shown.signed_in.user.label,
        switch_account_url=f"/select-account?{query}",
        items=[_item(token, shown, providers) for token in shown.tokens if scope_of(token) not in LAB_SCOPES],
        labs=shown.labs,
        lab_scopes=list(dict.fromkeys(filter(is_about_labs, (*shown.request.scope, *map(scope_of, shown.tokens))))),
        later_labs=shown.later_labs,
        administers=bool(shown.signed_in.user.roles) and not set(LAB_API_SCOPES).isdisjoint(shown.request.scope),
    )
    state["cookies"].set_form(response, fresh)
    return response


def _decision(form: Parameters) -> Decision:
    return Decision(
        mark=form.get("mark") or "",
        allowed=form.get("decision") == "allow",
        labs=ticked_labs(form),
        later_labs=form.get("later_labs") is not None,
    )


def _item(token: str, shown: ConsentPage, providers: Mapping[str, Provider]) -> tuple[str, str, str, bool]:
    """Return title, actual value, technical name, and whether it was agreed to before."""
    given = token in shown.given
    if (audience := resource_of(token)) is not None:
        name = shown.resources[audience].name if audience in shown.resources else audience
        return f"Act for you at {name}", audience, host_of(audience), given
    claim = claim_of(token)
    return title_of(token, providers), _value(scope_of(token), claim, shown), claim or token, given


def _value(scope: str, claim: str | None, shown: ConsentPage) -> str:
    if scope == "openid":
        return "An identifier of your account"
    if scope == "offline_access":
        return "Even when you are away"
    if scope not in SCOPE_CLAIMS:
        return ""
    held = user_claims(shown.signed_in.user, [scope])
    claims = {name: value for name, value in held.items() if claim in {None, name}}
    texts = [str(value) for value in claims.values() if isinstance(value, str)]
    texts += [str(part) for value in claims.values() if isinstance(value, dict) for part in value.values()]
    return " · ".join(texts) or _NOTHING
