"""Discovery (OpenID Connect Discovery §4), RFC 8414 metadata and JWKS (RFC 7517 §5) as prebuilt bytes.

They are answered for GET and HEAD on the exact path before anything else runs; whatever else falls through to routing.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from idp.observe.logs import get_logger
from idp.protocol.errors import TemporarilyUnavailable
from idp.services.signing_keys import SigningKeys
from idp.store.errors import Unavailable
from idp.web.responses import oauth_error

_log = get_logger(__name__)
DISCOVERY_PATHS = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
JWKS_PATH = "/jwks"


class WellKnown:
    """Answers metadata and keys; `open` gives it the keys once the store is open."""

    def __init__(self, metadata: Mapping[str, Any], *, jwks_max_age: timedelta) -> None:
        self._discovery = json.dumps(metadata, separators=(",", ":")).encode()
        self._max_age = int(jwks_max_age.total_seconds())
        self._discovery_headers = self._headers(self._discovery)
        self._signing_keys: SigningKeys | None = None
        self._jwks = b""
        self._jwks_headers = self._headers(b"")

    def open(self, signing_keys: SigningKeys) -> None:
        """Start answering with these keys."""
        self._signing_keys = signing_keys

    def _headers(self, body: bytes) -> list[tuple[bytes, bytes]]:
        return [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", f"public, max-age={self._max_age}".encode()),
            (b"access-control-allow-origin", b"*"),
        ]

    async def _answer(self, path: str) -> tuple[bytes, list[tuple[bytes, bytes]]] | None:
        if path in DISCOVERY_PATHS:
            return self._discovery, self._discovery_headers
        if path == JWKS_PATH and self._signing_keys is not None:
            jwks = await self._signing_keys.jwks()
            if jwks is not self._jwks:
                self._jwks, self._jwks_headers = jwks, self._headers(jwks)
            return self._jwks, self._jwks_headers
        return None

    def serve_before(self, application: ASGIApp) -> ASGIApp:
        """Return an application that answers these paths itself and hands everything else on."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
                try:
                    answer = await self._answer(scope["path"])
                except Unavailable as error:
                    _log.warning("unavailable", route=scope["path"], reason=str(error))
                    scope["idp.route"] = scope["path"]
                    await oauth_error(TemporarilyUnavailable(), retry_after=2)(scope, receive, send)
                    return
                if answer is not None:
                    body, headers = answer
                    scope["idp.route"] = scope["path"]
                    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
                    body = b"" if scope["method"] == "HEAD" else body
                    await send({"type": "http.response.body", "body": body})
                    return
            await application(scope, receive, send)

        return app
