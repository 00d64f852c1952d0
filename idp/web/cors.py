"""Cross-origin requests of browser applications (Fetch §3.2), for the origins that their client registered."""

from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from idp.domain.client import Client
from idp.web.services import Services

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "3600",
    "Vary": "Origin",
}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def preflight(request: Request[Services]) -> Response:
    """Answer a preflight for any origin: it names no client; the real answer is readable only for that client's."""
    origin = request.headers.get("origin")
    if origin is None or not origin.isascii() or not origin.isprintable():
        # No browser's origin (RFC 6454 §6.2): nothing of it is sent back.
        return Response(status_code=204)
    return Response(status_code=204, headers={**_PREFLIGHT, "Access-Control-Allow-Origin": origin})


def allow_origin(request: Request[Services], response: Response, client: Client | None) -> Response:
    """Let the page that asked read the answer, if its origin is one of the client's."""
    origin = request.headers.get("origin")
    if origin is not None:
        response.headers["Vary"] = "Origin"
        if client is not None and origin in origins(client):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "WWW-Authenticate"
    return response


def origins(client: Client) -> set[str]:
    """Return the client's origins: those registered, else those of its redirect URIs."""
    if client.web_origins is not None:
        return set(client.web_origins)
    parts = (urlsplit(uri) for uri in client.redirect_uris)
    return {_origin(part) for part in parts if part.scheme in _DEFAULT_PORTS}


def _origin(parts: SplitResult) -> str:
    """Return the origin as browsers write it (Fetch §3.1): in lower case, without the default port."""
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(_DEFAULT_PORTS[parts.scheme])}"
