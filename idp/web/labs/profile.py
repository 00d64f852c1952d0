"""A lab as its members see it, and as those do who may ask to join."""

from typing import Any

from starlette.responses import Response

from idp.domain.lab import Lab
from idp.services.input import InputRefused
from idp.services.lab_permissions import Forbidden
from idp.store.errors import NotFound
from idp.web.labs.visit import Visit, faults, lab_page, standing

_ASKED = "You have asked. The lab’s admins decide; you will be told by mail."
_WITHDRAWN = "Done. You do not ask to join any more."


@lab_page
async def join(visit: Visit) -> Response:
    """Take somebody's wish to join, or that they do not want to any more."""
    requests, form = visit.services["join_requests"], visit.form
    lab = await requests.find_open_lab(visit.user, visit.slug)
    if form is None:
        return await show_profile(visit, lab)
    try:
        if form.get("withdraw") is not None:
            await requests.withdraw(visit.user, visit.slug)
            return await show_profile(visit, lab, notice=_WITHDRAWN)
        await requests.ask(visit.user, visit.slug, (form.get("message") or "").replace("\r\n", "\n"))
    except InputRefused as refused:
        errors, message = faults(refused, "message"), form.get("message")
        return await show_profile(visit, lab, errors=errors, message=message, status=422)
    except Forbidden as error:
        return await show_profile(visit, lab, error=str(error), status=403)
    return await show_profile(visit, lab, notice=_ASKED)


async def show_profile(
    visit: Visit, lab: Lab, *, errors: dict[str, str] | None = None, message: str | None = None, **more: Any
) -> Response:
    """Show a lab to somebody who does not look after it: what it is, their own role, and whom to ask."""
    services, user = visit.services, visit.user
    now = services["clock"]()
    belongs = visit.actor.sees(lab)
    held = next((each for each in await services["store"].find_memberships(user.id) if each.lab.id == lab.id), None)
    membership = held.membership if held is not None and belongs else None
    asked = next((request for request, of in await services["join_requests"].of_user(user) if of.id == lab.id), None)
    return await visit.show(
        "labs/profile.html",
        lab,
        description=lab.description,
        homepage=lab.homepage,
        contact=lab.contact,
        role=None if membership is None else membership.role,
        weakly_signed_in=membership is not None and visit.actor.role_in(lab) is not membership.role,
        until=None if membership is None else membership.expires_at,
        standing=None if membership is None else standing(membership, now=now),
        admins=[_person(admin) for admin in await services["labs"].admins(visit.actor, lab.slug)] if belongs else [],
        asked_at=asked.created_at if asked is not None and asked.open else None,
        ended=None if asked is None or asked.open else asked,
        may_ask=await _may_ask(visit),
        errors=errors or {},
        message=message or "",
        **more,
    )


def _person(admin: Any) -> dict[str, str | None]:
    return {"name": admin.user.name or admin.user.label, "email": admin.user.email}


async def _may_ask(visit: Visit) -> bool:
    try:
        await visit.services["join_requests"].find_open_lab(visit.user, visit.slug)
    except NotFound:
        return False
    return True
