"""What a lab gives to services, which then may say for themselves that they belong to it (RFC 6749 §4.4)."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from idp.domain.lab import Lab, LabRole
from idp.domain.lab_grant import MAX_GRANT
from idp.services.input import InputRefused
from idp.services.lab_grants import LabGrantInput
from idp.services.lab_permissions import Forbidden
from idp.store.errors import NotFound
from idp.web.labs.visit import Visit, faults, lab_page, standing

_GIVEN = "Done. The service can say so from its next token on."
_WITHDRAWN = "Done. The service does not belong to the lab any more."
_GONE = "That was withdrawn in the meantime."
_FIELDS = ("client_id", "role", "expires_at")


@lab_page
async def lab_grants(visit: Visit) -> Response:
    """List the services, give one a role, and withdraw it."""
    lab, service, form = await visit.managed(), visit.services["lab_grants"], visit.form
    if form is None:
        return await _show(visit, lab)
    try:
        if (withdrawn := form.get("withdraw")) is not None:
            await service.withdraw(visit.actor, lab.slug, withdrawn)
            return await _show(visit, lab, notice=_WITHDRAWN)
        given = {name: form.get(name) for name in _FIELDS if form.get(name) is not None}
        await service.give(visit.actor, LabGrantInput.read({"lab": lab.slug, **given}))
    except InputRefused as refused:
        return await _show(visit, lab, errors=faults(refused, *_FIELDS), values=form.values, status=422)
    except NotFound:
        return await _show(visit, lab, error=_GONE, status=409)
    except Forbidden as error:
        return await _show(visit, lab, error=str(error), values=form.values, status=403)
    return await _show(visit, lab, notice=_GIVEN)


async def _show(
    visit: Visit,
    lab: Lab,
    *,
    errors: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    now = visit.services["clock"]()
    return await visit.show(
        "labs/services.html",
        lab,
        services=[
            {
                "client_id": client.client_id,
                "name": client.client_name,
                "role": grant.role,
                "until": grant.expires_at,
                "standing": standing(grant.membership, now=now),
            }
            for grant, client in await visit.services["lab_grants"].of_lab(visit.actor, lab.slug)
        ],
        latest=(now + MAX_GRANT).date().isoformat(),
        errors=errors or {},
        values=values or {"role": str(LabRole.MEMBER)},
        **more,
    )
