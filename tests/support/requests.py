"""Requests made by hand, for what reads them without a server around it."""

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import Message


def make_request(
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    query: bytes = b"",
    body: Iterable[bytes] = (),
    **state: Any,
) -> Request[Any]:
    """A request with its body in chunks; `state` is what the server would put there."""
    chunks = [*body]

    async def receive() -> Message:
        chunk = chunks.pop(0) if chunks else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": query,
        "headers": raw_headers,
        "state": state,
    }
    return Request(scope, receive)
