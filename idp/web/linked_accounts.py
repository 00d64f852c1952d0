"""The page of one's linked accounts: what signs one in beside or instead of a password."""

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.provider import Provider
from idp.protocol.parameters import Parameters
from idp.protocol.upstream import UpstreamRefused
from idp.services.sessions import Accounts, NotRecent, SignedIn
from idp.services.upstream_visits import Onward
from idp.web.account_page import account_page, show_account_page
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services
from idp.web.upstream import depart

_PATH = "/account/linked"
_STALE = "Somebody signed in or out in another window meanwhile. These are the accounts of who is signed in now."
_GONE = "That is no longer there. This is how things are now."
_LAST = "This is your only way to sign in. Add another one first."
_REMOVED = "Done. It does not sign you in here any more, and you are signed out in other browsers."


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
    held = await state["linked_accounts"].of(signed_in.user)
    offered = await state["providers"].shown()
    return show_account_page(
        request,
        accounts,
        signed_in,
        "account/linked.html",
        action=_PATH,
        status=status,
        # The buttons lead to providers.
        transaction=True,
        error=error,
        notice=notice,
        accounts=[
            {
                "id": linked.account.id,
                "provider": linked.account.provider,
                "display_name": linked.account.provider if linked.provider is None else linked.provider.display_name,
                "kind": "oidc" if linked.provider is None else linked.provider.kind,
                "label": linked.account.label,
                "since": linked.account.created_at,
                "last_used": linked.account.last_used_at,
                "removable": linked.removable,
            }
            for linked in held
        ],
        providers=list(map(_shown, offered)),
    )


@account_page(_PATH, _list, stale=_STALE)
async def linked_accounts(
    request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters
) -> Response:
    """List what is linked, take one of it away, or go to a provider to link more."""
    state = request.state
    if not state["sessions"].is_recent(signed_in.session):
        return redirect(sign_in_path(_PATH, again=True))
    if (name := form.get("link")) is not None:
        provider = await state["providers"].find(name)
        if provider is None:
            return await _list(request, accounts, signed_in, error=_GONE, status=409)
        return await depart(request, provider, Onward(next_path=_PATH), accounts, linking=True)
    try:
        removed = await state["linked_accounts"].unlink(signed_in, form.get("unlink") or "")
    except NotRecent:
        return redirect(sign_in_path(_PATH, again=True))
    except UpstreamRefused:
        return await _list(request, accounts, signed_in, error=_LAST, status=409)
    if removed is None:
        return await _list(request, accounts, signed_in, error=_GONE, status=409)
    # No redirect: an address that says "Done" would say it to whoever follows a link to it. A reload does no harm.
    return await _list(request, accounts, signed_in, notice=_REMOVED)


def _shown(provider: Provider) -> dict[str, str]:
    return {"name": provider.name, "display_name": provider.display_name, "kind": provider.kind}
