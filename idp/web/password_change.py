"""The page on which one changes one's own password, or sets a first one."""

from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.password_strength import Strength
from idp.protocol.parameters import Parameters
from idp.services.accounts import AccountRefused
from idp.services.sessions import Accounts, NotRecent, SignedIn
from idp.web.account_page import account_page, show_account_page
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services

_PATH = "/account/security/password"
_STALE = "Somebody signed in or out in another window meanwhile. This is the password of who is signed in now."
# The policy refuses what is weaker.
STRENGTHS = {
    Strength.FAIR: "The new password is fair: a longer one would be harder to guess.",
    Strength.GOOD: "The new password is good.",
    Strength.STRONG: "The new password is strong.",
}


async def _show(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    *,
    notice: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state = request.state
    if not notice and not state["sessions"].is_recent(signed_in.session):
        # Before anything is typed that would be lost.
        return redirect(sign_in_path(_PATH, again=True))
    return await _render(request, accounts, signed_in, notice, {} if error is None else {"": error}, status)


async def _render(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    notice: str | None,
    errors: dict[str, str],
    status: int,
) -> Response:
    state = request.state
    return show_account_page(
        request,
        accounts,
        signed_in,
        "account/password.html",
        action=_PATH,
        status=status,
        has_password=await state["password_change"].has_password(signed_in.user),
        notice=notice,
        errors=errors,
    )


@account_page(_PATH, _show, stale=_STALE)
async def password(request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters) -> Response:
    """Set the new password."""
    try:
        strength = await request.state["password_change"].change(
            signed_in, form.get("password") or "", end_others=form.get("end_others") is not None
        )
    except NotRecent:
        return redirect(sign_in_path(_PATH, again=True))
    except AccountRefused as refused:
        return await _render(request, accounts, signed_in, None, refused.errors, 422)
    return await _render(request, accounts, signed_in, STRENGTHS[strength], {}, 200)
