"""The page of the providers: what each is, whether it works, and the test that says what to change."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.domain.provider import USUAL_CLAIMS
from idp.services.lab_permissions import Forbidden
from idp.services.provider_test import ProviderState, may_test, provider_states
from idp.services.sessions import Accounts, SignedIn
from idp.store.errors import NotFound
from idp.upstream.connector import Finding
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.errors import forbidden_page
from idp.web.forms import read_form
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_PATH = "/admin/providers"
# How long ago somebody may have proved who they are to look at what administers the installation.
_RECENTLY = timedelta(hours=1)
_STALE = "Somebody signed in or out in another window meanwhile. This is who is signed in now: please try again."
_GONE = "That provider is no longer there."


@page
async def providers(request: Request[Services]) -> Response:
    """List the providers, and try one of them out."""
    state = request.state
    accounts = await find_accounts(request)
    if accounts.active is None:
        return redirect(sign_in_path(_PATH))
    signed_in, now = accounts.active, state["clock"]()
    try:
        states = await provider_states(state["store"], state["providers"], signed_in.user, now=now)
    except NotFound:
        # Whoever has no role is not told that there is such a page.
        raise HTTPException(404) from None
    if not signed_in.session.proven_since(now - _RECENTLY):
        return redirect(sign_in_path(_PATH, again=True))
    if request.method != "POST":
        return _show(request, accounts, signed_in, states)
    form = await read_form(request)
    form.check_single()
    try:
        state["cookies"].check_form(request, form.get("csrf"), signed_in)
    except StaleForm:
        return _show(request, accounts, signed_in, states, error=_STALE, status=403)
    if not may_test(signed_in.user):
        return forbidden_page(request, Forbidden("Only an administrator may try providers out."))
    name = form.get("test") or ""
    try:
        findings = await state["provider_test"].run(name)
    except NotFound:
        return _show(request, accounts, signed_in, states, error=_GONE, status=409)
    # What the test found out about the provider's being down is shown already.
    states = await provider_states(state["store"], state["providers"], signed_in.user, now=state["clock"]())
    return _show(request, accounts, signed_in, states, findings={name: findings})


def _show(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    states: Sequence[ProviderState],
    *,
    findings: dict[str, Sequence[Finding]] | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    csrf, fresh = state["cookies"].form_token(request, signed_in)
    response = state["pages"].render(
        "admin/providers.html",
        status=status,
        csrf=csrf,
        action=_PATH,
        user_label=signed_in.user.label,
        may_test=may_test(signed_in.user),
        error=error,
        providers=[_described(each, (findings or {}).get(each.provider.name)) for each in states],
    )
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response


def _described(state: ProviderState, findings: Sequence[Finding] | None) -> dict[str, Any]:
    provider = state.provider
    return {
        "name": provider.name,
        "display_name": provider.display_name,
        "kind": str(provider.kind),
        "issuer": provider.issuer,
        "from": str(provider.managed_by),
        "active": provider.active,
        "down": state.down,
        "callback": state.redirect_uri,
        "scope": provider.scope,
        "hosted_domains": provider.hosted_domains,
        # What every provider is asked for unless somebody says otherwise need not be read again each time.
        "claims": None if provider.claims == USUAL_CLAIMS else sorted(provider.claims.items()),
        "linked_accounts": state.linked_accounts,
        "findings": findings,
        "failed": sum(not finding.ok for finding in findings or ()),
    }
