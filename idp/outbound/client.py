"""The guarded HTTP client: fetches what others name, from no address that they may not reach (RFC 9110).

A URL that a client registered is a stranger's. The name is resolved once, the addresses are checked, and the
connection goes to one that passed, with the name for Host, SNI and the certificate: there is no second answer of a
name server that could lead elsewhere.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from ssl import SSLContext
from urllib.parse import urlencode
from urllib.request import parse_http_list

import httpcore2
import httpx2

from idp.outbound.addresses import AllowRule, IPAddress, is_host_name, is_public, parse_address

# Answers the addresses of a host and port, as text.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Of the lower ones only 443 speaks https; the others are services that must not be talked to in our name.
_FIRST_UNPRIVILEGED_PORT = 1024
# More digits count as no answer: an age of centuries.
_MAX_AGE = re.compile(r'max-age="?([0-9]{1,9})"?')
_RESOLVER_THREADS = 8


class OutboundError(Exception):
    """A request that was not made or not answered well; the text is for our log, without a body or a secret."""


class Forbidden(OutboundError):
    """The address may not be reached (scheme, port, network); see IDP_OUTBOUND_ALLOW."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status (3xx never comes this far).

    `content_type` is the media type alone in lower case, "" where there is none; `max_age` is how long it may be
    cached (RFC 9111 §5.2.2.1), None where nothing allows that.
    """

    status: int
    content_type: str
    body: bytes
    max_age: timedelta | None


@dataclass(frozen=True, slots=True)
class _Target:
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


class Outbound:
    """Fetches from public addresses over https, and from what the rules allow, within limits of size and time.

    Each request has a connection of its own, in HTTP/1.1, without cookies, proxies, redirects and content codings.
    `timeout` is for all of it, from the question to the name server to the last byte.
    """

    def __init__(
        self,
        *,
        allow: Sequence[AllowRule] = (),
        ca_file: Path | None = None,
        timeout: timedelta = timedelta(seconds=5),
        max_bytes: int = 262_144,
        resolve: Resolver | None = None,
    ) -> None:
        self._allow = tuple(allow)
        self._ca_file = ca_file
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._resolve = resolve or self._ask_system
        # Our own: a name server that keeps us waiting must not occupy the threads that others share.
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolver")

    async def get(self, url: str, *, accept: str, max_bytes: int | None = None) -> Fetched:
        """Fetch a document of the media type `accept`, of at most `max_bytes` instead of the client's own limit.

        Raises:
            Forbidden: the URL leads where it must not.
            OutboundError: the URL is not valid, or there was no answer within the limits.
        """
        limit = self._max_bytes if max_bytes is None else max_bytes
        return await self._send("GET", url, {"Accept": accept}, None, limit)

    async def post_form(self, url: str, form: Mapping[str, str]) -> Fetched:
        """Post a form (`application/x-www-form-urlencoded`).

        Raises:
            Forbidden: the URL leads where it must not.
            OutboundError: the URL is not valid, or there was no answer within the limits.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._send("POST", url, headers, urlencode(form).encode("ascii"), self._max_bytes)

    async def close(self) -> None:
        """Drop the names that wait to be resolved, and end the threads; nothing can be fetched any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _tls(self) -> SSLContext:
        # Made when it is first needed: reading all authorities of the system takes longer than the rest of a start.
        context = httpx2.create_ssl_context(trust_env=False)
        if self._ca_file:
            context.load_verify_locations(self._ca_file)
        return context

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, max_bytes: int
    ) -> Fetched:
        target = _parse(url)
        seconds = self._timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                addresses = self._check(target, await self._addresses(target))
                async with aclosing(_Pinned(addresses, seconds)) as network:
                    return await self._exchange(target, network, method, headers, content, max_bytes)
        except TimeoutError:
            raise OutboundError(f"{target} did not answer within {seconds:g} seconds") from None
        except httpcore2.ConnectError as error:
            raise OutboundError(f"{target} cannot be reached: {error}") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            # The kind alone: the text may repeat what the other side sent.
            raise OutboundError(f"{target} gave no valid answer: {type(error).__name__}") from None

    async def _addresses(self, target: _Target) -> list[IPAddress]:
        if target.address:
            return [target.address]
        try:
            found = await self._resolve(target.host, target.port)
        except socket.gaierror as error:
            raise OutboundError(f"{target} cannot be resolved: {error.strerror}") from None
        return [parse_address(text) for text in found]

    def _check(self, target: _Target, addresses: Iterable[IPAddress]) -> list[IPAddress]:
        """Return the addresses that may be reached.

        One that may not be spoils no other, since the connection goes to a checked one in any case: localhost has
        two addresses, of which a rule may name one, and a lab's host may have a public one beside a private one.

        Raises:
            Forbidden: there is none.
        """
        is_https = target.scheme == "https"
        has_usual_port = target.port == _DEFAULT_PORTS["https"] or target.port >= _FIRST_UNPRIVILEGED_PORT
        reachable = [
            address
            for address in addresses
            if any(rule.allows(target.host, target.port, address) for rule in self._allow)
            or (is_https and has_usual_port and is_public(address))
        ]
        if not reachable:
            wrong = "is at no public address" if has_usual_port else "has a port below 1024 other than 443"
            wrong = wrong if is_https else "is not https"
            raise Forbidden(f"{target} {wrong}, and IDP_OUTBOUND_ALLOW does not name it")
        return reachable

    async def _exchange(
        self,
        target: _Target,
        network: "_Pinned",
        method: str,
        headers: Mapping[str, str],
        content: bytes | None,
        max_bytes: int,
    ) -> Fetched:
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        connection = httpcore2.AsyncHTTPConnection(url.origin, ssl_context=self._tls, network_backend=network)
        always = {"Host": target.netloc, "User-Agent": "lab-id", "Accept-Encoding": "identity", "Connection": "close"}
        fields = [*always.items(), *headers.items()]
        async with connection.stream(method, url, headers=fields, content=content) as response:
            answer = httpx2.Headers(response.headers)
            if response.status < 200 or 300 <= response.status < 400:
                raise OutboundError(f"{target} answered with {response.status}, which is not followed")
            if answer.get("content-encoding", "identity").lower() != "identity":
                raise OutboundError(f"{target} answered with a content coding, which was not asked for")
            body = bytearray()
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) > max_bytes:
                    raise OutboundError(f"{target} answered with more than {max_bytes} bytes")
        media_type = answer.get("content-type", "").partition(";")[0].strip().lower()
        return Fetched(response.status, media_type, bytes(body), _max_age(answer.get("cache-control", "")))

    async def _ask_system(self, host: str, port: int) -> list[str]:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [str(sockaddr[0]) for *_, sockaddr in found]


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


def _parse(url: str) -> _Target:
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
    return _Target(parsed.scheme, host, address, port, parsed.netloc.decode("ascii"), parsed.raw_path)


def _max_age(cache_control: str) -> timedelta | None:
    directives = [directive.lower() for directive in parse_http_list(cache_control)]
    if "no-store" in directives:
        return None
    ages = filter(None, map(_MAX_AGE.fullmatch, directives))
    return next((timedelta(seconds=int(age[1])) for age in ages), None)
