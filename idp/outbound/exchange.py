"""One request and its answer over HTTP/1.1 (RFC 9110, RFC 9112), to addresses that were checked before.

A module of its own because the HTTP library is slow to load: `client` imports it with the first request.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from ssl import SSLContext
from typing import Any
from urllib.request import parse_http_list

import httpcore2
import httpx2

from idp.outbound.addresses import IPAddress, is_host_name, parse_address
from idp.outbound.client import Fetched, Forbidden, OutboundError, Redirected, Unacceptable, Unreachable

_DEFAULT_PORTS = {"http": 80, "https": 443}
# More digits count as no answer: an age of centuries.
_MAX_AGE = re.compile(r'max-age="?([0-9]{1,9})"?')


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads, read once: what is checked is what is asked for."""

    scheme: str
    host: str
    address: IPAddress | None  # where the host is one already
    port: int
    netloc: str
    path: bytes

    def __str__(self) -> str:
        # Without path and query, which may hold a secret.
        return f"{self.scheme}://{self.netloc}"


def read_url(url: str) -> Target:
    """Read a URL without its fragment.

    Raises:
        Forbidden: its scheme is neither https nor http.
        OutboundError: it has a user, no host or one of several meanings, or is no URL at all.
    """
    try:
        parsed = httpx2.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx2.InvalidURL, ValueError):
        raise OutboundError("the URL is not valid") from None
    if parsed.scheme not in _DEFAULT_PORTS:
        raise Forbidden("the URL is neither https nor http")
    if parsed.userinfo:
        raise OutboundError("the URL has a user")
    port = _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
    if not 1 <= port <= 65535:
        raise OutboundError("the URL has no valid port")
    address = None
    if not is_host_name(host):
        try:
            address = parse_address(host)
        except ValueError:
            raise OutboundError("the URL has no valid host") from None
        # A zone (RFC 4007 §11) has a meaning on one machine only.
        if "%" in host:
            raise OutboundError("the URL has a zone")
    return Target(parsed.scheme, host, address, port, parsed.netloc.decode("ascii"), parsed.raw_path)


def trusted_authorities(ca_file: Path | None) -> SSLContext:
    """Return what trusts the authorities of the system, and those of a file beside them."""
    context = httpx2.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


@dataclass(slots=True)
class HttpRequest:
    """What is sent; the headers are those beside the ones that every request has.

    `keep` lets the connection stay open for another; `is_sent` says whether the other side may have seen any of it.
    """

    method: str
    headers: Mapping[str, str]
    content: bytes | None
    keep: bool = False
    is_sent: bool = False

    async def trace(self, event: str, _: Mapping[str, Any]) -> None:
        """Note what the HTTP library says that it does: whatever is not about connecting is after that."""
        self.is_sent = self.is_sent or not event.startswith("connection.")


class Connection:
    """A connection to the first of the addresses that can be reached; `seconds` is shared out among them.

    That a request ends in time is the caller's business. `opened_at` is by the clock of the event loop.
    """

    def __init__(self, target: Target, addresses: Sequence[IPAddress], *, tls: SSLContext, seconds: float) -> None:
        self.opened_at = asyncio.get_running_loop().time()
        self._network = _Pinned(addresses, seconds)
        self._http = httpcore2.AsyncHTTPConnection(_url(target).origin, ssl_context=tls, network_backend=self._network)

    @property
    def is_idle(self) -> bool:
        """Whether another request can be sent: the last answer is read, and neither side has said anything since."""
        return self._http.is_idle() and not self._http.has_expired()

    async def exchange(self, target: Target, request: HttpRequest, *, max_bytes: int) -> Fetched:
        """Send a request, and read the answer.

        Raises:
            Unreachable: none of the addresses can be reached, or none that proves its name.
            Unacceptable: the answer is too large, a redirect or in a content coding.
            OutboundError: a header cannot be sent, or the answer is none.
        """
        try:
            return await self._exchange(target, request, max_bytes)
        except httpcore2.ConnectError as error:
            raise Unreachable(f"{target} cannot be reached: {error}") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            # The kind alone: the text may repeat what the other side sent.
            raise OutboundError(f"{target} gave no valid answer: {type(error).__name__}") from None

    async def aclose(self) -> None:
        """Close it."""
        # In TLS that says goodbye first, which nobody has to be there for.
        with suppress(OSError, httpcore2.NetworkError):
            await self._network.aclose()

    async def _exchange(self, target: Target, request: HttpRequest, max_bytes: int) -> Fetched:
        always = {"Host": target.netloc, "User-Agent": "lab-id", "Accept-Encoding": "identity"}
        ending = {} if request.keep else {"Connection": "close"}
        fields = [*always.items(), *ending.items(), *request.headers.items()]
        watching = {"trace": request.trace}
        async with self._http.stream(
            request.method, _url(target), headers=fields, content=request.content, extensions=watching
        ) as response:
            answer = httpx2.Headers(response.headers)
            # A server that fails may do so in any way.
            refusal = OutboundError if response.status >= 500 else Unacceptable
            if response.status < 200 or 300 <= response.status < 400:
                text = f"{target} answered with {response.status}, which is not followed"
                raise Redirected(text, answer.get("location", ""))
            if answer.get("content-encoding", "identity").lower() != "identity":
                raise refusal(f"{target} answered with a content coding, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > max_bytes:
                    raise refusal(f"{target} answered with more than {max_bytes} bytes")
        media_type = answer.get("content-type", "").partition(";")[0].strip().lower()
        max_age = _max_age(answer.get("cache-control", ""))
        return Fetched(response.status, media_type, bytes(body), max_age, _date(answer.get("date", "")))


def _url(target: Target) -> httpcore2.URL:
    return httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to the first of the checked addresses that answers, whatever name the connection bears."""

    def __init__(self, addresses: Sequence[IPAddress], seconds: float) -> None:
        self._addresses = addresses
        # So that one which keeps silent leaves time for the others.
        self._seconds_each = seconds / len(addresses)
        self._network = httpcore2.AnyIOBackend()
        self._stream: httpcore2.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the port at a checked address; the host and all else is passed over."""
        *others, last = map(str, self._addresses)
        for address in others:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                self._stream = await self._network.connect_tcp(address, port, timeout=self._seconds_each)
                return self._stream
        self._stream = await self._network.connect_tcp(last, port)
        return self._stream

    async def aclose(self) -> None:
        """Close the connection, which is left open where time ran out during the handshake."""
        if self._stream:
            await self._stream.aclose()


def _max_age(cache_control: str) -> timedelta | None:
    directives = [directive.lower() for directive in parse_http_list(cache_control)]
    if "no-store" in directives or "no-cache" in directives:
        return timedelta()
    ages = filter(None, map(_MAX_AGE.fullmatch, directives))
    return next((timedelta(seconds=int(age[1])) for age in ages), None)


def _date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
        # One without a zone is in UTC, as all are (RFC 9110 §5.6.7).
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
