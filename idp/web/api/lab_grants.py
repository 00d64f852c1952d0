"""Services and applications of a lab, at the API."""

from starlette.responses import Response

from idp.domain.client import Client
from idp.domain.lab_grant import LabGrant
from idp.services.lab_grants import LabGrantInput
from idp.store.errors import NotFound
from idp.web.api import representations as shown
from idp.web.api.operation import Call


async def list_service_grants(call: Call) -> Response:
    """List the services that have a role in a lab."""
    given = await call.services["lab_grants"].of_lab(call.actor, call.slug)
    return call.answer(shown.ServiceGrants(items=tuple(shown.ServiceGrant.of(*each) for each in given)))


async def grant_service(call: Call) -> Response:
    """Give a service a role in a lab, for a year at most, or write anew what it has.

    The client must be registered for the client credentials grant.
    """
    given = await call.body(LabGrantInput, lab=call.slug, client_id=call.named("client_id"))
    present = await _find_grant(call)
    await call.services["lab_grants"].give(call.actor, given)
    grant, service = await call.services["lab_grants"].find(call.actor, call.slug, given.client_id)
    return call.answer(shown.ServiceGrant.of(grant, service), status=201 if present is None else 200)


async def withdraw_service_grant(call: Call) -> Response:
    """Withdraw what a lab gave to a service."""
    await call.services["lab_grants"].withdraw(call.actor, call.slug, call.named("client_id"))
    return call.done()


async def list_applications(call: Call) -> Response:
    """List the applications that may be told of a lab: those that name it, and those that may see all labs."""
    seen = await call.services["lab_applications"].of_lab(call.actor, call.slug)
    return call.answer(shown.Applications(items=tuple(map(shown.Application.of, seen))))


async def allow_application(call: Call) -> Response:
    """Let an application be told of a lab, as far as its members consent."""
    await call.services["lab_applications"].allow(call.actor, call.slug, call.named("client_id"))
    return call.done()


async def disallow_application(call: Call) -> Response:
    """Let an application be told of a lab no longer."""
    await call.services["lab_applications"].disallow(call.actor, call.slug, call.named("client_id"))
    return call.done()


async def _find_grant(call: Call) -> tuple[LabGrant, Client] | None:
    try:
        return await call.services["lab_grants"].find(call.actor, call.slug, call.named("client_id"))
    except NotFound:
        # Of a lab that is not there for the actor, whoever goes on is told so.
        return None
