"""Introspection endpoint (RFC 7662 §2)."""

from starlette.requests import Request
from starlette.responses import Response

from idp.web.endpoint import machine_endpoint
from idp.web.forms import read_form
from idp.web.responses import json_no_store
from idp.web.services import Services


@machine_endpoint
async def introspect(request: Request[Services]) -> Response:
    """Say whether a token is active, and what it stands for."""
    form = await read_form(request)
    return json_no_store(await request.state["introspection"].introspect(request.headers.get("authorization"), form))
