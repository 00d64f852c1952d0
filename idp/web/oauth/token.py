"""Token endpoint (RFC 6749 §3.2)."""

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.errors import OAuthError
from idp.protocol.parameters import Parameters
from idp.web import errors
from idp.web.cors import allow_origin, preflight
from idp.web.endpoint import machine_endpoint
from idp.web.forms import read_form
from idp.web.responses import json_no_store
from idp.web.services import Services


@machine_endpoint
async def issue(request: Request[Services]) -> Response:
    """Exchange a grant for tokens."""
    if request.method == "OPTIONS":
        return await preflight(request)
    form = await read_form(request)
    try:
        response = json_no_store(await request.state["token"].issue(request.headers.get("authorization"), form))
    except OAuthError as error:
        response = await errors.refusal_answer(request, error)
    return await readable_by_client(request, form, response)


async def readable_by_client(request: Request[Services], form: Parameters, response: Response) -> Response:
    """Let a browser application read the answer, success or refusal, from an origin of the client it names."""
    if "origin" not in request.headers:
        return response
    authentication = request.state["client_authentication"]
    return allow_origin(request, response, await authentication.find_named(request.headers.get("authorization"), form))
