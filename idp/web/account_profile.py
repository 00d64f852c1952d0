"""The page of one's own profile: the standard claims that applications may be told (OpenID Connect Core §5.1)."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.user import User
from idp.protocol.parameters import Parameters
from idp.services.accounts import AccountRefused
from idp.services.own_profile import ADDRESS_FIELDS, OWN_CLAIMS
from idp.services.sessions import Accounts, SignedIn
from idp.web.account_page import account_page, show_account_page
from idp.web.services import Services

_PATH = "/account/profile"
_STALE = "Somebody signed in or out in another window meanwhile. This is the profile of who is signed in now."
_SAVED = "Saved. Applications that may know it are told the next time they ask."


async def _show(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    *,
    notice: str | None = None,
    error: str | None = None,
    status: int = 200,
    values: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    user = signed_in.user
    return show_account_page(
        request,
        accounts,
        signed_in,
        "account/profile.html",
        action=_PATH,
        status=status,
        error=error,
        notice=notice,
        email=user.email,
        email_verified=user.email_verified,
        username=user.username,
        values=_values(user) if values is None else values,
        errors=errors or {},
    )


@account_page(_PATH, _show, stale=_STALE)
async def profile(request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters) -> Response:
    """Show what one tells of oneself, and change it."""
    told = {name: form.get(name) or "" for name in OWN_CLAIMS}
    address = {name: form.get(f"address.{name}") or "" for name in ADDRESS_FIELDS}
    try:
        user = await request.state["own_profile"].save(signed_in.user.id, told, address)
    except AccountRefused as refused:
        values = {**told, **{f"address.{name}": line for name, line in address.items()}}
        return await _show(request, accounts, signed_in, values=values, errors=refused.errors, status=422)
    return await _show(request, accounts, SignedIn(signed_in.session, user), notice=_SAVED)


def _values(user: User) -> dict[str, str]:
    claims = {"name": user.name, **user.profile}
    address = user.profile.get("address") or {}
    return {
        **{name: str(claims.get(name) or "") for name in OWN_CLAIMS},
        **{f"address.{name}": str(address.get(name) or "") for name in ADDRESS_FIELDS},
    }
