"""Client registration and configuration endpoints (RFC 7591 §3, RFC 7592 §2, OpenID Connect Registration §3 and §4)."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.errors import InvalidToken
from idp.web import errors
from idp.web.endpoint import machine_endpoint
from idp.web.json_body import read_json
from idp.web.responses import bearer_challenge, json_no_store
from idp.web.services import Services


@machine_endpoint
async def register(request: Request[Services]) -> Response:
    """Register a client."""
    return await _challenged(request, _register)


@machine_endpoint
async def manage(request: Request[Services]) -> Response:
    """Let a client read (GET), replace (PUT) or delete (DELETE) its own registration."""
    return await _challenged(request, _manage)


async def _register(request: Request[Services]) -> Response:
    registration = request.state["registration"]
    actor = await registration.admit(request.headers.get("authorization"))
    return json_no_store(await registration.register(await read_json(request), actor=actor), status=201)


async def _manage(request: Request[Services]) -> Response:
    registration = request.state["registration"]
    managed = await registration.manage(request.path_params["client_id"], request.headers.get("authorization"))
    if request.method == "DELETE":
        await registration.delete(managed)
        return Response(status_code=204, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})
    if request.method == "PUT":
        return json_no_store(await registration.update(managed, await read_json(request)))
    return json_no_store(registration.read(managed))


async def _challenged(
    request: Request[Services], handler: Callable[[Request[Services]], Awaitable[Response]]
) -> Response:
    # Both endpoints are protected by bearer tokens, so a wrong one is answered as RFC 6750 §3 says.
    try:
        return await handler(request)
    except InvalidToken as error:
        response = await errors.refusal_answer(request, error)
        response.headers["WWW-Authenticate"] = bearer_challenge(error)
        return response
