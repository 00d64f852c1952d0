"""Answers that several endpoints give."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.authorization_response import AuthorizationResponse, ResponseMode
from idp.protocol.errors import InvalidClient, MissingToken, OAuthError
from idp.web.application import host_of
from idp.web.services import Services

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


def jwt_no_store(token: str) -> Response:
    """Return a signed or encrypted answer (OpenID Connect Core §5.3.2)."""
    return Response(token, media_type="application/jwt", headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


class _Prepared(Response):
    """JSON with headers that are encoded already: this answer is on every machine's way."""

    def __init__(self, body: bytes, status: int) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*_NO_STORE, (b"content-length", str(len(body)).encode())]


def oauth_error(
    error: OAuthError, *, error_uri: str | None = None, retry_after: int | None = None, challenge: bool = False
) -> Response:
    """Return a refusal as JSON; `error_uri` leads to its explanation (RFC 6749 §5.2).

    `challenge` says that the client authenticated in the Authorization header.
    """
    headers = {}
    if challenge and isinstance(error, InvalidClient):
        # To others it would mean that they should have used Basic, and some libraries then show nothing else.
        headers["WWW-Authenticate"] = 'Basic realm="lab-id", charset="UTF-8"'
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    content = {"error": error.error, "error_description": error.description}
    if error_uri is not None:
        content["error_uri"] = error_uri
    return json_no_store(content, status=error.status, headers=headers)


def bearer_error(error: OAuthError) -> Response:
    """Return a refusal of a bearer token (RFC 6750 §3)."""
    content = {"error": error.error, "error_description": error.description}
    return json_no_store(content, status=error.status, headers={"WWW-Authenticate": bearer_challenge(error)})


def bearer_challenge(error: OAuthError) -> str:
    """Return the challenge that goes with a refused bearer token (RFC 6750 §3)."""
    challenge = 'Bearer realm="lab-id"'
    if isinstance(error, MissingToken):
        return challenge
    return f'{challenge}, error="{error.error}", error_description="{error.description}"'


def redirect(location: str) -> Response:
    """Send the browser on with a GET (303; RFC 9700 §4.12 forbids 307 here)."""
    # Not Starlette's RedirectResponse, which re-encodes the target: registered URIs are kept as they are.
    return Response(status_code=303, headers={"Location": location, "Cache-Control": "no-store"})


def deliver(request: Request[Services], answer: AuthorizationResponse) -> Response:
    """Let the browser carry the answer to the application, by redirect or by a form (Form Post Response Mode §2)."""
    if answer.mode is not ResponseMode.FORM_POST:
        return redirect(answer.location)
    return request.state["pages"].render(
        "form_post.html",
        transaction=True,
        action=answer.location,
        host=host_of(answer.location),
        params=answer.params,
    )
