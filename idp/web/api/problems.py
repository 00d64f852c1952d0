"""What the API says when it refuses or fails (RFC 9457): each kind has a `type` and a `title` that never change.

`detail` and `errors` are sentences of ours; nothing of what was sent is ever repeated in them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from idp.protocol.errors import InsufficientScope, InvalidToken, OAuthError
from idp.services.input import InputRefused
from idp.services.lab_permissions import Forbidden
from idp.store.errors import Conflict, Unavailable
from idp.web.responses import bearer_challenge, json_no_store
from idp.web.services import Services

DOCUMENT_PATH = "/api/v1/openapi.json"
MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem; `name` ends its `type`, which leads to its example in the document."""

    name: str
    status: int
    title: str
    detail: str | None = None

    def type(self, issuer: str) -> str:
        """Return what identifies the kind (§3.1.1)."""
        return f"{issuer}{DOCUMENT_PATH}#/components/examples/{self.name}"


MALFORMED = Kind("malformed-request", 400, "The request is malformed")
INVALID_TOKEN = Kind("invalid-token", 401, "The access token does not count")
INSUFFICIENT_SCOPE = Kind("insufficient-scope", 403, "The access token lacks a scope")
FORBIDDEN = Kind("forbidden", 403, "This is not allowed")
NOT_FOUND = Kind("not-found", 404, "There is nothing here", "It does not exist, or is not for you to see.")
METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "This cannot be done here", "See the header Allow.")
CONFLICT = Kind("conflict", 409, "Something there is in the way", "It exists already, or changed just now.")
CONTENT_TOO_LARGE = Kind("content-too-large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE = Kind("unsupported-media-type", 415, "The body has another media type than it must have")
INVALID_INPUT = Kind("invalid-input", 422, "Some of what was sent cannot be accepted", "See errors, by field.")
SERVER_ERROR = Kind("server-error", 500, "Something went wrong here", "It was recorded; give X-Request-Id to us.")
UNAVAILABLE = Kind("unavailable", 503, "The service is busy or restarting", "Look whether it was done, and try again.")

KINDS = (
    *(MALFORMED, INVALID_TOKEN, INSUFFICIENT_SCOPE, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED, CONFLICT),
    *(CONTENT_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, INVALID_INPUT, SERVER_ERROR, UNAVAILABLE),
)
_BY_STATUS = {kind.status: kind for kind in (NOT_FOUND, METHOD_NOT_ALLOWED, CONTENT_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE)}


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: its kind, with what is to be said of this case."""

    kind: Kind
    detail: str | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self, issuer: str) -> dict[str, Any]:
        """Return the members (§3.1)."""
        detail = self.detail or self.kind.detail
        return {
            "type": self.kind.type(issuer),
            "title": self.kind.title,
            "status": self.kind.status,
            **({} if detail is None else {"detail": detail}),
            **({"errors": dict(self.errors)} if self.errors else {}),
        }

    def response(self, request: Request[Services]) -> Response:
        """Return the answer that tells it."""
        headers = {**self.headers, "Content-Type": MEDIA_TYPE}
        return json_no_store(self.body(request.state["issuer"]), status=self.kind.status, headers=headers)


def refusal(error: Exception, *, needed: str) -> Problem:
    """Return what is told of a refusal; `needed` is the scope that the call needs."""
    match error:
        case OAuthError():
            return _of_token(error, needed)
        case InputRefused():
            return Problem(INVALID_INPUT, errors=error.errors)
        case Forbidden():
            return Problem(FORBIDDEN, str(error))
        case HTTPException():
            return http_problem(error)
    # What these two say is for operators, and names what was asked for.
    return Problem(CONFLICT if isinstance(error, Conflict) else NOT_FOUND)


def failure(error: Exception) -> Problem:
    """Return what is told of a failure of ours."""
    if isinstance(error, Unavailable):
        return Problem(UNAVAILABLE, headers={"Retry-After": "2"})
    return Problem(SERVER_ERROR)


def http_problem(error: HTTPException) -> Problem:
    """Return what is told of a refusal of the framework's: a path, a method, a body."""
    return Problem(_BY_STATUS.get(error.status_code, MALFORMED), headers=error.headers or {})


def _of_token(error: OAuthError, needed: str) -> Problem:
    match error:
        case InvalidToken():
            return Problem(INVALID_TOKEN, error.description, headers={"WWW-Authenticate": bearer_challenge(error)})
        case InsufficientScope():
            challenge = f'{bearer_challenge(error)}, scope="{needed}"'
            return Problem(INSUFFICIENT_SCOPE, error.description, headers={"WWW-Authenticate": challenge})
    return Problem(MALFORMED, error.description)
