"""Deciding on who asks to join a lab."""

from typing import Any

from starlette.responses import Response

from idp.domain.lab import Lab
from idp.services.input import InputRefused
from idp.services.join_requests import DecisionInput
from idp.services.lab_permissions import Forbidden
from idp.store.errors import NotFound
from idp.web.forms import read_query
from idp.web.labs.visit import Visit, faults, lab_page, pages_of

_ACCEPTED = "Done. They belong to the lab now, and are told so by mail."
_DENIED = "Done. They are told so by mail."
_NO_SUCH_PAGE = "There is no such page of this list."
_GONE = "That request does not wait any more: it was withdrawn, or somebody else decided."


@lab_page
async def join_requests(visit: Visit) -> Response:
    """List the requests, and take a decision."""
    lab, form = await visit.managed(), visit.form
    if form is None:
        try:
            return await _show(visit, lab, after=read_query(visit.request).get("after"))
        except InputRefused:
            return await _show(visit, lab, error=_NO_SUCH_PAGE, status=422)
    user_id, accepted = form.get("user") or "", form.get("decision") == "accept"
    try:
        given = DecisionInput.read(
            {"role": form.get("role") if accepted else None, "ends_at": form.get("ends_at") if accepted else None}
        )
        if accepted and given.role is None:
            raise InputRefused({("role",): "it is missing"})
        await visit.services["join_requests"].decide(
            visit.actor, lab.slug, user_id, role=given.role, ends_at=given.ends_at
        )
    except InputRefused as refused:
        errors = faults(refused, "role", "ends_at")
        return await _show(visit, lab, of=user_id, errors=errors, status=422)
    except NotFound:
        return await _show(visit, lab, error=_GONE, status=409)
    except Forbidden as error:
        return await _show(visit, lab, error=str(error), status=403)
    return await _show(visit, lab, notice=_ACCEPTED if accepted else _DENIED)


async def _show(
    visit: Visit,
    lab: Lab,
    *,
    after: str | None = None,
    of: str | None = None,
    errors: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    page = await visit.services["join_requests"].of_lab(visit.actor, lab.slug, after=after)
    # Each request has a form of its own, with a number behind the names of its fields.
    number = next((number for number, (_, user) in enumerate(page.items, 1) if user.id == of), 0)
    return await visit.show(
        "labs/requests.html",
        lab,
        accepting=lab.accepts_join_requests,
        requests=[
            {
                "user_id": user.id,
                "label": user.label,
                "name": user.name,
                "message": request.message,
                "since": request.created_at,
            }
            for request, user in page.items
        ],
        **pages_of(f"/labs/{lab.slug}/requests", after=after, following=page.next),
        errors={f"{name}-{number}" if name and number else "": text for name, text in (errors or {}).items()},
        **more,
    )
