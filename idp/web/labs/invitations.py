"""Inviting into a lab: by mail to one address, or by a link that is shown once; and taking invitations back."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from idp.domain.invitation import Invitation, InvitationStatus
from idp.domain.lab import Lab, LabRole
from idp.services.input import InputRefused
from idp.services.invitations import InvitationInput
from idp.services.lab_permissions import Forbidden
from idp.services.paging import Page
from idp.store.errors import Conflict
from idp.web.forms import read_query
from idp.web.labs.visit import Visit, faults, lab_page, pages_of

_INVITED = "Done. The invitation is on its way."
_REVOKED = "Done. Nobody can accept that invitation any more."
_ANSWERED = "It was answered in the meantime."
_FIELDS = ("email", "role", "ends_at", "expires_at")
_NO_SUCH_PAGE = "There is no such page of this list."


@lab_page
async def invitations(visit: Visit) -> Response:
    """List the invitations, make one, and take one back."""
    lab, service, form = await visit.managed(), visit.services["invitations"], visit.form
    if form is None:
        try:
            return await _show(visit, lab, after=read_query(visit.request).get("after"))
        except InputRefused:
            return await _show(visit, lab, error=_NO_SUCH_PAGE, status=422)
    try:
        if (revoked := form.get("revoke")) is not None:
            await service.revoke(visit.actor, lab.slug, revoked)
            return await _show(visit, lab, notice=_REVOKED)
        given = {name: form.get(name) for name in _FIELDS if form.get(name) is not None}
        invitation, url = await service.invite(visit.actor, InvitationInput.read({"lab": lab.slug, **given}))
    except InputRefused as refused:
        return await _show(visit, lab, errors=faults(refused, *_FIELDS), values=form.values, status=422)
    except Conflict:
        return await _show(visit, lab, error=_ANSWERED, status=409)
    except Forbidden as error:
        return await _show(visit, lab, error=str(error), status=403)
    if invitation.email is None:
        return await _show(visit, lab, link=url)
    return await _show(visit, lab, notice=_INVITED)


async def _show(
    visit: Visit,
    lab: Lab,
    *,
    after: str | None = None,
    link: str | None = None,
    errors: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    now = visit.services["clock"]()
    page: Page[Invitation] = await visit.services["invitations"].of_lab(visit.actor, lab.slug, after=after)
    every = [(each, each.status(now=now)) for each in page.items]
    return await visit.show(
        "labs/invitations.html",
        lab,
        link=link,
        waiting=[invitation for invitation, status in every if status is InvitationStatus.OPEN],
        past=[each for each in every if each[1] is not InvitationStatus.OPEN],
        **pages_of(f"/labs/{lab.slug}/invitations", after=after, following=page.next),
        errors=errors or {},
        values=values or {"role": str(LabRole.MEMBER)},
        **more,
    )
