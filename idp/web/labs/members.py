"""Who belongs to a lab: the list, and one member at a time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response

from idp.domain.lab import Lab, LabMember, LabRole
from idp.domain.lab_rule import given_by_rule
from idp.services.input import InputRefused
from idp.services.lab_input import MembershipInput
from idp.services.lab_permissions import Forbidden
from idp.services.paging import Page
from idp.store.columns import storable
from idp.store.errors import NotFound
from idp.web.forms import read_query
from idp.web.labs.profile import show_profile
from idp.web.labs.rules import describe_rule
from idp.web.labs.visit import Visit, faults, lab_page, pages_of, standing

_NO_SUCH_PAGE = "There is no such page of this list, or nothing can be called what you search for."
_SAVED = "Saved. What applications are told follows from it at once."
_REMOVED = "Done. The membership has ended, and applications are told so from now on."


@lab_page
async def lab(visit: Visit) -> Response:
    """Show the lab: its members to whoever looks after it or sees all labs, its profile to others."""
    try:
        lab = await visit.find()
    except NotFound:
        open_lab = await visit.services["join_requests"].find_open_lab(visit.user, visit.slug)
        return await show_profile(visit, open_lab)
    if visit.actor.manages(lab) or visit.actor.sees_all:
        return await _list(visit, lab)
    return await show_profile(visit, lab)


async def _list(visit: Visit, lab: Lab) -> Response:
    query, labs = read_query(visit.request), visit.services["labs"]
    search, after = (query.get("q") or "").strip(), query.get("after")
    role = next((role for role in LabRole if role == query.get("role")), None)
    page: Page[LabMember] = Page((), None)
    error = None
    try:
        page = await labs.members(visit.actor, lab.slug, search=search, role=role, after=after)
    except InputRefused:
        error = _NO_SUCH_PAGE
    filters = {name: value for name, value in (("q", search), ("role", role)) if value}
    count, waiting = (None, 0) if filters or after else await _counts(visit, lab)
    now = visit.services["clock"]()
    return await visit.show(
        "labs/members.html",
        lab,
        members=[_row(member, now=now) for member in page.items],
        count=count,
        waiting=waiting,
        search=search,
        role=role,
        filtered=bool(filters),
        **pages_of(f"/labs/{lab.slug}", after=after, following=page.next, **filters),
        error=error,
        status=200 if error is None else 422,
    )


async def _counts(visit: Visit, lab: Lab) -> tuple[int, int]:
    """Return how many belong to the lab and ask to join; for the first page alone, since both grow with the lab."""
    members = await visit.services["labs"].count_members(visit.actor, lab.slug)
    if not visit.actor.manages(lab):
        return members, 0
    return members, await visit.services["join_requests"].count(visit.actor, lab.slug)


def _row(member: LabMember, *, now: datetime) -> dict[str, Any]:
    """Return what the list shows of a member."""
    user, membership = member.user, member.membership
    return {
        "id": user.id,
        "label": user.label,
        "name": user.name,
        "role": membership.role,
        "since": membership.not_before or membership.created_at,
        "until": membership.expires_at,
        "standing": standing(membership, now=now),
    }


@lab_page
async def member(visit: Visit) -> Response:
    """Show one member, and take a change of the membership or its end."""
    lab = await visit.managed()
    labs, user_id = visit.services["labs"], visit.request.path_params["user_id"]
    if not storable(user_id):
        raise NotFound
    found = await labs.member(visit.actor, lab.slug, user_id)
    form = visit.form
    if form is None:
        return await _show(visit, lab, found, removing=read_query(visit.request).get("remove") is not None)
    try:
        if form.get("remove") is not None:
            await labs.remove_member(visit.actor, lab.slug, found.user.id)
            # No redirect: an address that says "Done" would say it to whoever follows a link to it.
            return await _show(visit, lab, found, removed=True, notice=_REMOVED)
        changed = MembershipInput.read(
            {
                "lab": lab.slug,
                "user": found.user.id,
                "role": form.get("role"),
                "not_before": _unless_same(form.get("not_before"), found.membership.not_before),
                "expires_at": _unless_same(form.get("expires_at"), found.membership.expires_at),
            }
        )
        await labs.set_member(visit.actor, changed)
    except InputRefused as refused:
        errors = faults(refused, "role", "not_before", "expires_at")
        return await _show(visit, lab, found, errors=errors, values=form.values, status=422)
    except Forbidden as error:
        # Such as for the last admin: what else could be done stands on the same page.
        return await _show(visit, lab, found, error=str(error), status=403)
    return await _show(visit, lab, await labs.member(visit.actor, lab.slug, user_id), notice=_SAVED)


def _unless_same(day: str | None, present: datetime | None) -> str | datetime | None:
    """Return a day that was entered, or the moment that there is where the page showed the same day for it."""
    return present if present is not None and day == present.date().isoformat() else day


async def _show(
    visit: Visit,
    lab: Lab,
    member: LabMember,
    *,
    removing: bool = False,
    removed: bool = False,
    errors: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    membership = member.membership
    days = {"not_before": membership.not_before, "expires_at": membership.expires_at}
    present = {name: moment.date().isoformat() for name, moment in days.items() if moment is not None}
    return await visit.show(
        "labs/member.html",
        lab,
        member=_row(member, now=visit.services["clock"]()),
        granted_at=membership.created_at,
        rule=await describe_rule(visit, lab, str(membership.granted_by))
        if given_by_rule(membership.granted_by)
        else None,
        removing=removing,
        removed=removed,
        errors=errors or {},
        values={"role": str(membership.role), **present} if values is None else values,
        **more,
    )
