"""Answers that several endpoints give."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from idp.protocol.errors import InvalidClient, MissingToken, OAuthError

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_NO_STORE = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
]


def json_no_store(
    content: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return JSON that nobody may keep (RFC 6749 §5.1)."""
    response = _Prepared(_ENCODER.encode(content).encode(), status)
    if headers:
        response.headers.update(headers)
    return response


class _Prepared(Response):
    """JSON with headers that are encoded already: this answer is on every machine's way."""

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*_NO_STORE, (b"content-length", str(len(body)).encode())]


def oauth_error(error: OAuthError, *, retry_after: int | None = None) -> Response:
    """Return a refusal as JSON (RFC 6749 §5.2)."""
    headers = {}
    if isinstance(error, InvalidClient):
        # 401 goes with a challenge (RFC 9110 §15.5.2); Basic is what every client here may use.
        headers["WWW-Authenticate"] = 'Basic realm="lab-id", charset="UTF-8"'
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    content = {"error": error.error, "error_description": error.description}
    return json_no_store(content, status=error.status, headers=headers)


def bearer_error(error: OAuthError) -> Response:
    """Return a refusal of a bearer token (RFC 6750 §3)."""
    challenge = 'Bearer realm="lab-id"'
    if not isinstance(error, MissingToken):
        challenge += f', error="{error.error}", error_description="{error.description}"'
    content = {"error": error.error, "error_description": error.description}
    return json_no_store(content, status=error.status, headers={"WWW-Authenticate": challenge})


def redirect(location: str) -> Response:
    """Send the browser on with a GET (303; RFC 9700 §4.12 forbids 307 here)."""
    # Not Starlette's RedirectResponse, which re-encodes the target: registered URIs are kept as they are.
    return Response(status_code=303, headers={"Location": location, "Cache-Control": "no-store"})
