"""Revocation endpoint (RFC 7009 §2)."""

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.errors import OAuthError
from idp.web import errors
from idp.web.cors import preflight
from idp.web.endpoint import machine_endpoint
from idp.web.forms import read_form
from idp.web.oauth.token import readable_by_client
from idp.web.services import Services


@machine_endpoint
async def revoke(request: Request[Services]) -> Response:
    """Revoke a token; the answer is empty and has no content type, which oidc-client-ts relies on."""
    if request.method == "OPTIONS":
        return await preflight(request)
    form = await read_form(request)
    try:
        await request.state["revocation"].revoke(request.headers.get("authorization"), form)
        response = Response(status_code=200, headers={"Cache-Control": "no-store"})
    except OAuthError as error:
        response = await errors.refusal_answer(request, error)
    return await readable_by_client(request, form, response)
