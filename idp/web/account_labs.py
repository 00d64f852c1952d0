"""The page of one's own labs: memberships, invitations that wait, requests to join, and leaving."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.domain.acr import reaches
from idp.domain.lab import LabMembership, LabRole, LabStatus
from idp.domain.user import User
from idp.protocol.parameters import Parameters
from idp.services.lab_permissions import Forbidden
from idp.services.lab_reminders import ENDS_SOON
from idp.services.opened_invitation import InvitationRefused
from idp.services.sessions import Accounts, SignedIn
from idp.store.errors import NotFound
from idp.web.account_page import account_page, show_account_page
from idp.web.endpoint import page
from idp.web.onward import second_factor_path, sign_in_path
from idp.web.responses import redirect
from idp.web.services import Services, find_accounts

_PATH = "/account/labs"
_STALE = "Somebody signed in or out in another window meanwhile. These are the labs of who is signed in now."
_GONE = "That is no longer there. This is how things are now."
_JOINED = "Done. You belong to the lab now."
_DECLINED = "Done. You declined the invitation."
_WITHDRAWN = "Done. Your request is withdrawn."
_LEFT = "Done. You have left the lab."


async def _list(
    request: Request[Services],
    accounts: Accounts,
    signed_in: SignedIn,
    *,
    notice: str | None = None,
    error: str | None = None,
    status: int = 200,
) -> Response:
    state, user = request.state, signed_in.user
    held = await state["store"].find_memberships(user.id)
    invitations = await state["invitations"].waiting_for(user)
    requests = await state["join_requests"].of_user(user)
    joinable = await state["join_requests"].joinable(user)
    shown = [*(each.lab for each in held), *(each.lab for each in invitations), *joinable]
    return show_account_page(
        request,
        accounts,
        signed_in,
        "account/labs.html",
        action=_PATH,
        status=status,
        error=error,
        notice=notice,
        logos=await state["logos"].urls(shown),
        memberships=_memberships(held, acr=signed_in.session.acr, now=state["clock"]()),
        invitations=invitations,
        requests=requests,
        joinable=joinable,
    )


@account_page(_PATH, _list, stale=_STALE)
async def labs(request: Request[Services], accounts: Accounts, signed_in: SignedIn, form: Parameters) -> Response:
    """List one's labs and what waits for an answer, and do what one of the buttons says."""
    try:
        notice = await _act(request.state, form, signed_in.user)
    except (InvitationRefused, NotFound):
        return await _list(request, accounts, signed_in, error=_GONE, status=409)
    except Forbidden as error:
        return await _list(request, accounts, signed_in, error=str(error), status=403)
    # No redirect: an address that says "Done" would say it to whoever follows a link to it. A reload does no harm.
    return await _list(request, accounts, signed_in, notice=notice)


@page
async def leave(request: Request[Services]) -> Response:
    """Ask whether somebody really wants to leave a lab; the form is taken by `labs`."""
    state = request.state
    accounts = await find_accounts(request)
    if accounts.active is None:
        return redirect(sign_in_path(request.scope["path"]))
    held = await state["store"].find_memberships(accounts.active.user.id)
    lab = next((each.lab for each in held if each.lab.slug == request.path_params["slug"]), None)
    if lab is None:
        raise HTTPException(404)
    csrf, fresh = state["cookies"].form_token(request, accounts.active)
    response = state["pages"].render("account/leave.html", csrf=csrf, action=_PATH, lab=lab)
    state["cookies"].set_form(response, fresh)
    return response


async def _act(services: Services, form: Parameters, user: User) -> str | None:
    if (handle := form.get("accept")) is not None:
        await services["invitations"].accept(handle, user)
        return _JOINED
    if (handle := form.get("decline")) is not None:
        await services["invitations"].decline(handle, user)
        return _DECLINED
    if (slug := form.get("withdraw")) is not None:
        await services["join_requests"].withdraw(user, slug)
        return _WITHDRAWN
    if (slug := form.get("leave")) is not None:
        await services["labs"].leave(user, slug)
        return _LEFT
    return None


def _memberships(held: Iterable[LabMembership], *, acr: str, now: datetime) -> list[dict[str, Any]]:
    """Return what the page says of each membership; those that have ended stand last."""
    rows = []
    for each in held:
        begins, ends = each.membership.not_before, each.membership.expires_at
        archived = each.lab.status is not LabStatus.ACTIVE
        rows.append(
            {
                "lab": each.lab,
                "role": each.membership.role,
                "archived": archived,
                # Where to prove more, for whoever signed in too weakly to act as the lab's admin.
                "step_up_url": second_factor_path(f"/labs/{each.lab.slug}")
                if _is_too_weak(each, acr, now=now)
                else None,
                # Whether the lab's own page is there for them.
                "seen": each.membership.valid(now=now) or (each.lab.accepts_join_requests and not archived),
                "begins": begins if begins is not None and now < begins else None,
                "ends": ends,
                "ended": ends is not None and ends <= now,
                "soon": ends is not None and now < ends <= now + ENDS_SOON,
            }
        )
    return sorted(rows, key=lambda row: (row["ended"], row["lab"].name.casefold(), row["lab"].slug))


def _is_too_weak(each: LabMembership, acr: str, *, now: datetime) -> bool:
    least = each.lab.admin_acr
    is_admin = each.membership.role is LabRole.ADMIN and each.membership.valid(now=now)
    return is_admin and least is not None and not reaches(acr, least)
