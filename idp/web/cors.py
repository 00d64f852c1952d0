"""Cross-origin requests of browser applications (Fetch §3.2), for the origins that their client registered."""

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.client import Client
from idp.web.services import Services

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "3600",
}


async def preflight(request: Request[Services]) -> Response:
    """Answer a preflight, which names no client, for the origins of any; the real answer is readable for one's own."""
    origin = request.headers.get("origin")
    response = Response(status_code=204, headers={"Vary": "Origin"})
    if origin is not None and await request.state["clients"].knows_origin(origin):
        response.headers.update({**_PREFLIGHT, "Access-Control-Allow-Origin": origin})
    return response


def allow_origin(
    request: Request[Services], response: Response, client: Client | None, *, known: bool = False
) -> Response:
    """Let the page that asked read the answer, if its origin is one of the client's.

    `known` says that it is some client's, which is enough for an answer that is about no client.
    """
    origin = request.headers.get("origin")
    if origin is not None:
        response.headers["Vary"] = "Origin"
        if known or (client is not None and origin in client.origins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "WWW-Authenticate"
    return response
