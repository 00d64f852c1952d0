"""Which applications may be told of a lab."""

from typing import Any

from starlette.responses import Response

from idp.domain.client import GrantType
from idp.domain.lab import Lab
from idp.services.input import InputRefused
from idp.services.lab_permissions import Forbidden
from idp.store.errors import NotFound
from idp.web.application import host_of
from idp.web.labs.visit import Visit, faults, lab_page

_ALLOWED = "Done. It may be told of the lab from now on."
_DISALLOWED = "Done. It is not told of this lab any more."
_GONE = "That was taken back in the meantime."
_UNKNOWN = "There is no such application."
# What a client is registered for that acts for itself alone, or only asks about tokens.
_WITHOUT_PEOPLE = frozenset({GrantType.CLIENT_CREDENTIALS})


@lab_page
async def lab_applications(visit: Visit) -> Response:
    """List the applications, allow one, and take that back."""
    lab, service, form = await visit.managed(), visit.services["lab_applications"], visit.form
    if form is None:
        return await _show(visit, lab)
    client_id, disallowed = form.get("client_id") or "", form.get("disallow")
    try:
        if disallowed is not None:
            await service.disallow(visit.actor, lab.slug, disallowed)
            return await _show(visit, lab, notice=_DISALLOWED)
        await service.allow(visit.actor, lab.slug, client_id)
    except InputRefused as refused:
        return await _show(visit, lab, errors=faults(refused, "client_id"), client_id=client_id, status=422)
    except NotFound:
        if disallowed is not None:
            return await _show(visit, lab, error=_GONE, status=409)
        return await _show(visit, lab, errors={"client_id": _UNKNOWN}, client_id=client_id, status=422)
    except Forbidden as error:
        return await _show(visit, lab, error=str(error), client_id=client_id, status=403)
    return await _show(visit, lab, notice=_ALLOWED)


async def _show(
    visit: Visit, lab: Lab, *, errors: dict[str, str] | None = None, client_id: str = "", **more: Any
) -> Response:
    found = await visit.services["lab_applications"].of_lab(visit.actor, lab.slug)
    logos = await visit.services["logos"].urls(each.client for each in found)
    return await visit.show(
        "labs/applications.html",
        lab,
        applications=[
            {
                "client_id": each.client.client_id,
                "name": each.client.client_name,
                "logo": logos.get(each.client.client_id),
                "host": next(map(host_of, each.client.redirect_uris), None),
                "people": not _WITHOUT_PEOPLE.issuperset(each.client.grant_types),
                "trusted": each.client.trusted,
                "named": each.named,
            }
            for each in found
        ],
        errors=errors or {},
        client_id=client_id,
        **more,
    )
