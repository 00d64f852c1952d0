"""Cross-origin requests of browser applications (Fetch §3.2), for the origins that their client registered."""

from starlette.requests import Request
from starlette.responses import Response

from idp.crypto.opaque import hash_token
from idp.domain.client import Client
from idp.web.services import Services

_PREFLIGHT = {
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "3600",
}


async def preflight(request: Request[Services], *, methods: str = "GET, POST") -> Response:
    """Answer a preflight, which names no client, for the origins of any; the real answer is readable for one's own."""
    origin = request.headers.get("origin")
    response = Response(status_code=204, headers={"Vary": "Origin"})
    if origin is not None and await request.state["clients"].knows_origin(origin):
        response.headers.update(
            {**_PREFLIGHT, "Access-Control-Allow-Methods": methods, "Access-Control-Allow-Origin": origin}
        )
    return response


def allow_origin(
    request: Request[Services],
    response: Response,
    client: Client | None,
    *,
    known: bool = False,
    expose: str = "WWW-Authenticate",
) -> Response:
    """Let the page that asked read the answer, if its origin is one of the client's.

    `known` says that it is some client's, which is enough for an answer that is about no client. `expose` are headers
    that it may read as well.
    """
    origin = request.headers.get("origin")
    if origin is not None:
        response.headers["Vary"] = "Origin"
        if known or (client is not None and origin in client.origins):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = expose
    return response


async def allow_bearers_origin(
    request: Request[Services], response: Response, token: str | None, *, expose: str = "WWW-Authenticate"
) -> Response:
    """Do the same for an answer to whoever holds an access token, whether it counts or not."""
    origin = request.headers.get("origin")
    if origin is None:
        return response
    clients = request.state["clients"]
    issued = None if token is None else await request.state["store"].find_access_token(hash_token(token))
    client = None if issued is None else await clients.find(issued.item.client_id)
    # Of a token that nobody knows a browser application learns at least that: it is to be replaced.
    known = client is None and await clients.knows_origin(origin)
    return allow_origin(request, response, client, known=known, expose=expose)
