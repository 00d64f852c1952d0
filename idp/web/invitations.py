"""The page of an invitation into a lab; its address is a secret, and only its form answers it."""

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.lab import Lab, Membership
from idp.domain.user import User
from idp.services.opened_invitation import InvitationFault, InvitationRefused, OpenInvitation
from idp.services.sessions import Accounts, SignedIn
from idp.web.cookies import StaleForm
from idp.web.endpoint import page
from idp.web.forms import read_form
from idp.web.onward import sign_in_path
from idp.web.responses import redirect
from idp.web.select_account import select_account_path
from idp.web.services import Services, find_accounts

_STALE = "Somebody signed in or out in another window meanwhile. This is who is signed in now: please answer again."
_STATUS = {InvitationFault.UNKNOWN: 404, InvitationFault.WRONG_ACCOUNT: 403, InvitationFault.NOT_VERIFIED: 403}
_OVER = 410
_ANSWERS = {InvitationFault.USED, InvitationFault.DECLINED}


@page
async def invitation(request: Request[Services]) -> Response:
    """Show an invitation to who is signed in, and take the answer."""
    state = request.state
    accounts = await find_accounts(request)
    if accounts.active is None:
        return redirect(sign_in_path(request.scope["path"]))
    handle, user = request.path_params["token"], accounts.active.user
    if request.method != "POST":
        return await _show(request, accounts, accounts.active)
    form = await read_form(request)
    form.check_single()
    try:
        state["cookies"].check_form(request, form.get("csrf"), accounts.active)
    except StaleForm:
        return await _show(request, accounts, accounts.active, error=_STALE)
    try:
        opened = await state["invitations"].open(handle, user)
        if form.get("decision") == "accept":
            return _answered(request, opened.lab, await state["invitations"].accept(handle, user))
        if form.get("decision") == "decline":
            await state["invitations"].decline(handle, user)
            return _answered(request, opened.lab, None)
    except InvitationRefused:
        # The page says why, as it does to who merely opens it.
        pass
    return await _show(request, accounts, accounts.active)


def _answered(request: Request[Services], lab: Lab, membership: Membership | None) -> Response:
    # No redirect, as for all answers: an address that says "Welcome" would say it to whoever follows a link to it.
    return request.state["pages"].render("invitation_answered.html", lab=lab, membership=membership)


async def _show(
    request: Request[Services], accounts: Accounts, signed_in: SignedIn, *, error: str | None = None
) -> Response:
    state, path, user = request.state, request.scope["path"], signed_in.user
    try:
        opened = await state["invitations"].open(request.path_params["token"], user)
        fault = opened.fault
    except InvitationRefused as refused:
        opened, fault = None, refused.fault
    shown = opened is not None and fault is None
    status = 200 if fault is None else _STATUS.get(fault, _OVER)
    csrf, fresh = state["cookies"].form_token(request, signed_in)
    response = state["pages"].render(
        "invitation.html",
        status=status if error is None else 403,
        csrf=csrf,
        action=path,
        error=error,
        why_not=_why_not(opened, fault, user),
        opened=opened,
        logo=await state["logos"].url(opened.lab) if opened is not None and shown else None,
        user_label=user.label,
        switch_account_url=select_account_path(None, path) if accounts.others else sign_in_path(path, add=True),
    )
    state["cookies"].set_form(response, fresh)
    state["cookies"].set_missing_state(response, accounts)
    return response


def _why_not(opened: OpenInvitation | None, fault: InvitationFault | None, user: User) -> str | None:
    """Return which text says why there is no answering: another one where this person has answered already."""
    own = opened is not None and opened.invitation.answered_by == user.id
    return f"own_{fault}" if own and fault in _ANSWERS else fault
