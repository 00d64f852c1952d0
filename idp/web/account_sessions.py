"""The page of one's own sign-ins: where somebody is signed in, and ending that."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.device import device_of
from idp.domain.session import Session
from idp.protocol.parameters import Parameters
from idp.services.sessions import Accounts, SignedIn
from idp.web.account_page import account_page, show_account_page
from idp.web.responses import redirect
from idp.web.services import Services

_PATH = "/account/sessions"
_STALE = "Somebody signed in or out in another window meanwhile. These are the sign-ins of who is signed in now."
_GONE = "That one had ended already. This is how things are now."
_ENDED = "Done. It is signed out, and so are the applications that were used from there."
_ALL_ENDED = "Done. You are signed out everywhere but here, and so are the applications that were used from there."


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
    held = await state["sessions"].held(signed_in.user)
    return show_account_page(
        request,
        accounts,
        signed_in,
        "account/sessions.html",
        action=_PATH,
        status=status,
        error=error,
        notice=notice,
        sessions=[_shown(session, current=session.id == signed_in.session.id) for session in held],
    )


@account_page(_PATH, _list, stale=_STALE)
async def sessions(request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters) -> Response:
    """List the sign-ins, and end one of them or all others."""
    state = request.state
    now = state["clock"]()
    if form.get("end_others") is not None:
        await state["sessions"].end_others(signed_in, now=now)
        return await _list(request, accounts, signed_in, notice=_ALL_ENDED)
    sid = form.get("end")
    if sid == signed_in.session.id:
        # With a page of its own: applications may have to be told in this browser.
        return redirect("/logout")
    session = next((session for session in await state["sessions"].held(signed_in.user) if session.id == sid), None)
    if session is None:
        return await _list(request, accounts, signed_in, error=_GONE, status=409)
    await state["sessions"].end(session, now=now)
    # No redirect: an address that says "Done" would say it to whoever follows a link to it. A reload does no harm.
    return await _list(request, accounts, signed_in, notice=_ENDED)


def _shown(session: Session, *, current: bool) -> dict[str, Any]:
    browser, system = device_of(session.user_agent)
    return {
        "id": session.id,
        "browser": browser,
        "system": system,
        "address": session.address,
        "began": session.created_at,
        "last_seen": session.last_seen_at,
        "current": current,
    }
