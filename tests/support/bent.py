"""What the providers that tests bend have in common: they note what they were asked, and answer as a test wants."""

import asyncio
from base64 import b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Event
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

# As a value to be merged: the member is left out.
ABSENT: Final = object()
# Longer than anybody waits for an answer; a test that forgets to release one ends nevertheless.
SLOW_SECONDS = 30

Answer = Callable[[Request, Response], Response]


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; the names of `headers` are in lower case."""

    endpoint: str
    method: str
    query: Mapping[str, str]
    form: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Bent:
    """`bend` holds, by endpoint, what makes the answer from the request and the usual answer."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.bend: dict[str, Answer] = {}
        self.requests: list[Seen] = []

    def count(self, endpoint: str) -> int:
        return sum(seen.endpoint == endpoint for seen in self.requests)

    def last(self, endpoint: str) -> Seen:
        return [seen for seen in self.requests if seen.endpoint == endpoint][-1]

    async def answer(
        self, endpoint: str, usual: Callable[[Request], Awaitable[Response]], request: Request
    ) -> Response:
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Seen(endpoint, request.method, dict(request.query_params), form, headers))
        response = await usual(request)
        return self.bend[endpoint](request, response) if endpoint in self.bend else response


def merged(usual: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usual members with the changes: a callable makes the value from the usual one, ABSENT removes it."""
    made = {name: change(usual.get(name)) if callable(change) else change for name, change in changes.items()}
    return {name: value for name, value in {**usual, **made}.items() if value is not ABSENT}


def html(status: int = 200) -> Answer:
    """Answer with a page where JSON is expected."""
    return lambda _request, _usual: HTMLResponse("<!doctype html><title>Sorry</title><h1>Be right back</h1>", status)


def failing(status: int = 500) -> Answer:
    """Answer with a status and no body."""
    return lambda _request, _usual: Response(status_code=status)


def body(content: str | bytes, media_type: str = "application/json", status: int = 200) -> Answer:
    """Answer with exactly these bytes."""
    return lambda _request, _usual: Response(content, status, media_type=media_type)


def slow(released: Event) -> Answer:
    """Send the headers and the first byte at once, and the rest when the event is set."""

    def answer(_request: Request, usual: Response) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            content = bytes(usual.body)
            yield content[:1]
            for _ in range(SLOW_SECONDS * 50):
                if released.is_set():
                    break
                await asyncio.sleep(0.02)
            yield content[1:]

        return StreamingResponse(parts(), usual.status_code, dict(usual.headers))

    return answer


def credentials(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    """Return who the client says it is: by Basic (RFC 6749 §2.3.1), else in the body."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        name, _, secret = b64decode(value, validate=True).decode().partition(":")
    except (Error, UnicodeDecodeError):
        return "", ""
    return unquote_plus(name), unquote_plus(secret)


def pkce_challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 §4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
