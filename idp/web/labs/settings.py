"""What a lab says of itself, and how it lets people in."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from idp.domain.lab import Lab, LabStatus
from idp.protocol.parameters import Parameters
from idp.services.input import InputRefused
from idp.services.lab_input import LabChanges
from idp.services.lab_permissions import Forbidden
from idp.web.labs.visit import Visit, faults, lab_page

_SAVED = "Saved."
_ARCHIVED = "Done. The lab is archived: applications are told nothing of it any more, and nobody can join."
_RESTORED = "Done. The lab takes part again."
_TEXTS = ("name", "description", "homepage", "contact", "logo_uri", "admin_acr")
_STATUS = {"archive": (LabStatus.ARCHIVED, _ARCHIVED), "restore": (LabStatus.ACTIVE, _RESTORED)}


@lab_page
async def settings(visit: Visit) -> Response:
    """Show the form, and take it."""
    lab, labs, form = await visit.managed(), visit.services["labs"], visit.form
    if form is None:
        return await _show(visit, lab)
    changes, notice = _changes(form), _SAVED
    try:
        if (action := form.get("action")) in _STATUS:
            status, notice = _STATUS[action]
            changes = {"status": status}
        changed = await labs.update(visit.actor, lab.slug, LabChanges.read(changes))
    except InputRefused as refused:
        return await _show(visit, lab, errors=faults(refused, *_TEXTS), values=form.values, status=422)
    except Forbidden as error:
        return await _show(visit, lab, error=str(error), status=403)
    return await _show(visit, changed, notice=notice)


def _changes(form: Parameters) -> Mapping[str, object]:
    """Return what the form says of each field: one that is empty is cleared."""
    return {
        **{name: None if (text := form.get(name)) is None else text.replace("\r\n", "\n") for name in _TEXTS},
        "name": form.get("name") or "",
        "accepts_join_requests": form.get("accepts_join_requests") is not None,
    }


async def _show(
    visit: Visit,
    lab: Lab,
    *,
    errors: dict[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    present = {name: getattr(lab, name) for name in _TEXTS if getattr(lab, name) is not None}
    if lab.accepts_join_requests:
        present["accepts_join_requests"] = "yes"
    return await visit.show(
        "labs/settings.html",
        lab,
        may_archive=visit.actor.manages_all,
        errors=errors or {},
        values=present if values is None else values,
        **more,
    )
