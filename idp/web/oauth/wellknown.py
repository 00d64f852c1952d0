"""Discovery (OpenID Connect Discovery §4), RFC 8414 metadata and JWKS (RFC 7517 §5) as prebuilt bytes.

They are answered on the exact path before anything else runs; every other path goes on to the rest of the server.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from time import perf_counter
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idp.observe.logs import get_logger
from idp.observe.metrics import Metrics
from idp.protocol.errors import TemporarilyUnavailable
from idp.services.signing_keys import SigningKeys
from idp.store.errors import Unavailable
from idp.web.middleware.edge import security_headers
from idp.web.responses import json_no_store, oauth_error

_log = get_logger(__name__)
DISCOVERY_PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
JWKS_PATH = "/jwks"
_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
}


class WellKnown:
    """Stands outermost and answers metadata and keys; `open` gives it the keys once the store is open."""

    def __init__(self, app: ASGIApp, metadata: Mapping[str, Any], *, jwks_max_age: timedelta, https: bool) -> None:
        self._app = app
        self._security_headers = security_headers(https=https)
        self._headers = [
            (b"content-type", b"application/json"),
            (b"cache-control", f"public, max-age={int(jwks_max_age.total_seconds())}".encode()),
            (b"access-control-allow-origin", b"*"),
            *self._security_headers,
        ]
        discovery = self._prepare(json.dumps(metadata, separators=(",", ":")).encode())
        self._answers = dict.fromkeys(DISCOVERY_PATHS, discovery)
        self._jwks_body = b""
        self._jwks_answer = self._prepare(b"")
        self._signing_keys: SigningKeys | None = None
        self._metrics: Metrics | None = None

    def open(self, signing_keys: SigningKeys, metrics: Metrics) -> None:
        """Start answering with these keys."""
        self._signing_keys = signing_keys
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"] if scope["type"] == "http" else None
        if path == JWKS_PATH or path in self._answers:
            await self._answer(path, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        if scope["method"] not in {"GET", "HEAD"}:
            response = self._other_method(scope["method"])
            await response(scope, receive, send)
            self._count(path, scope, response.status_code, started)
            return
        status = 200
        try:
            start, body = await self._jwks() if path == JWKS_PATH else self._answers[path]
        except Unavailable as error:
            status = 503
            _log.warning("unavailable", route=path, reason=str(error))
            response = oauth_error(TemporarilyUnavailable(), retry_after=2)
            response.raw_headers.extend(self._security_headers)
            await response(scope, receive, send)
        else:
            # A copy of the list: the server and whatever stands around us may add to it.
            await send({**start, "headers": [*start["headers"]]})
            await send({"type": "http.response.body", "body": b""} if scope["method"] == "HEAD" else body)
        self._count(path, scope, status, started)

    def _other_method(self, method: str) -> Response:
        """Let browser applications ask with headers of their own (Fetch §4.8), and nobody do anything else."""
        if method == "OPTIONS":
            response = Response(status_code=204, headers=_PREFLIGHT)
        else:
            refusal = {"error": "invalid_request", "error_description": "Metadata and keys can only be read."}
            response = json_no_store(refusal, status=405, headers={"Allow": "GET, HEAD, OPTIONS"})
        response.raw_headers.extend(self._security_headers)
        return response

    def _count(self, path: str, scope: Scope, status: int, started: float) -> None:
        if self._metrics is not None:
            self._metrics.observe_request(path, scope["method"], status, perf_counter() - started)

    async def _jwks(self) -> tuple[Message, Message]:
        if self._signing_keys is None:
            raise Unavailable("the server is starting")
        jwks = await self._signing_keys.jwks()
        if jwks is not self._jwks_body:
            self._jwks_body, self._jwks_answer = jwks, self._prepare(jwks)
        return self._jwks_answer

    def _prepare(self, body: bytes) -> tuple[Message, Message]:
        headers = [*self._headers, (b"content-length", str(len(body)).encode())]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        return start, {"type": "http.response.body", "body": body}
