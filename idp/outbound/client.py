"""The guarded HTTP client: fetches what others name, from no address that they may not reach (RFC 9110).

A URL that a client registered is a stranger's. The name is resolved once, the addresses are checked, and the
connection goes to one that passed, with the name for Host, SNI and the certificate: there is no second answer of a
name server that could lead elsewhere.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from idp.outbound.addresses import AllowRule, IPAddress, is_public, parse_address
from idp.outbound.kept import KeptConnections
from idp.outbound.resolver import SystemResolver

if TYPE_CHECKING:
    from ssl import SSLContext

    from idp.outbound.exchange import Target

# Answers the addresses of a host and port, as text.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

_HTTPS_PORT = 443
# Of the lower ones only 443 speaks https; the others are services that must not be talked to in our name.
_FIRST_UNPRIVILEGED_PORT = 1024


class OutboundError(Exception):
    """A request that was not made or not answered well; the text is for our log, without a body or a secret."""


class Forbidden(OutboundError):
    """The address may not be reached (scheme, port, network); see IDP_OUTBOUND_ALLOW."""


class Unreachable(OutboundError):
    """No connection came about, so that nothing of the request was sent: it may be made again, whatever it does."""


class Unacceptable(OutboundError):
    """The other side answered, with what we do not take: too much, a redirect, or a content coding.

    That of one person may be so, and of nobody else; a status of 500 or more is never meant.
    """


class Redirected(Unacceptable):
    """The other side leads elsewhere, and nobody follows; `location` is where, as it says, "" where it does not."""

    def __init__(self, text: str, location: str) -> None:
        # Apart from the text: it may hold a secret.
        super().__init__(text)
        self.location = location


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status (3xx never comes this far).

    `content_type` is the media type alone in lower case, "" where there is none; `max_age` is how long it may be
    cached (RFC 9111 §5.2.2), nothing where that is forbidden and None where the answer does not say; `date` is the
    other side's time (RFC 9110 §6.6.1) in UTC, None where it does not tell or nobody can read it.
    """

    status: int
    content_type: str
    body: bytes
    max_age: timedelta | None
    date: datetime | None = None


class Outbound:
    """Fetches from public addresses over https, and from what the rules allow, within limits of size and time.

    In HTTP/1.1, without cookies, proxies, redirects and content codings. Each request has a connection of its own,
    unless it is told to `keep` it for others of the kind. `timeout` is for all of it, from the question to the name
    server to the last byte.
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
        self._system = SystemResolver()
        self._resolve = resolve or self._system
        self._kept = KeptConnections()

    async def get(self, url: str, *, accept: str, max_bytes: int | None = None) -> Fetched:
        """Fetch a document of the media type `accept`, of at most `max_bytes` instead of the client's own limit.

        Raises:
            Forbidden: the URL leads where it must not.
            Unreachable: no connection came about.
            Unacceptable: the answer is too large, a redirect or in a content coding.
            OutboundError: the URL is not valid, or there was no answer within the limits.
        """
        return await self.send("GET", url, {"Accept": accept}, None, max_bytes=max_bytes)

    async def post_form(self, url: str, form: Mapping[str, str]) -> Fetched:
        """Post a form (`application/x-www-form-urlencoded`).

        Raises:
            Forbidden: the URL leads where it must not.
            Unreachable: no connection came about.
            Unacceptable: the answer is too large, a redirect or in a content coding.
            OutboundError: the URL is not valid, or there was no answer within the limits.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.send("POST", url, headers, urlencode(form).encode("ascii"))

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: bytes | None,
        *,
        max_bytes: int | None = None,
        timeout: timedelta | None = None,
        keep: bool = False,
    ) -> Fetched:
        """Make a request, with limits of its own where they are given instead of the client's.

        The headers are those beside Host, User-Agent, Accept-Encoding, Connection and Content-Length. `keep` is only
        for what is answered by something that proves to which request it belongs, such as an ID token with a nonce:
        bytes behind another answer on the same connection could be taken for this one.

        Raises:
            Forbidden: the URL leads where it must not.
            Unreachable: no connection came about; the request may be made again.
            Unacceptable: the answer is too large, a redirect or in a content coding.
            OutboundError: the URL or a header is not valid, or there was no answer within the limits.
        """
        # Loaded with the first request: a server that never fetches anything does without the HTTP library.
        from idp.outbound.exchange import Connection, HttpRequest, read_url

        target = read_url(url)
        if not all(text.isascii() for pair in headers.items() for text in pair):
            raise OutboundError(f"a header of the request to {target} is not in ASCII")
        request = HttpRequest(method, headers, content, keep)
        seconds = (self._timeout if timeout is None else timeout).total_seconds()
        limit = self._max_bytes if max_bytes is None else max_bytes
        try:
            async with asyncio.timeout(seconds):
                connection = self._kept.take(target) if keep else None
                if connection is None:
                    addresses = self._check(target, await self._addresses(target))
                    connection = Connection(target, addresses, tls=self._tls, seconds=seconds)
                async with AsyncExitStack() as stack:
                    stack.push_async_callback(connection.aclose)
                    fetched = await connection.exchange(target, request, max_bytes=limit)
                    if keep:
                        stack.pop_all()
                        self._kept.give(target, connection)
                return fetched
        except TimeoutError:
            why = f"did not answer within {seconds:g} seconds"
        except OSError as error:
            why = f"gave no valid answer: {type(error).__name__}"
        raise (OutboundError if request.is_sent else Unreachable)(f"{target} {why}")

    def drop_kept(self, url: str) -> None:
        """Close the connections that are kept to where a URL leads: an answer there was not that of its request."""
        from idp.outbound.exchange import read_url

        self._kept.drop(read_url(url))

    async def close(self) -> None:
        """Drop the names that wait to be resolved, end the threads and connections; nothing can be fetched any more."""
        await self._kept.close()
        self._system.close()

    @cached_property
    def _tls(self) -> "SSLContext":
        # Made when it is first needed: reading all authorities of the system takes longer than the rest of a start.
        from idp.outbound.exchange import trusted_authorities

        return trusted_authorities(self._ca_file)

    async def _addresses(self, target: "Target") -> list[IPAddress]:
        if target.address:
            return [target.address]
        try:
            found = await self._resolve(target.host, target.port)
        except socket.gaierror as error:
            raise Unreachable(f"{target} cannot be resolved: {error.strerror}") from None
        return [parse_address(text) for text in found]

    def _check(self, target: "Target", addresses: Iterable[IPAddress]) -> list[IPAddress]:
        """Return the addresses that may be reached.

        One that may not be spoils no other, since the connection goes to a checked one in any case: localhost has
        two addresses, of which a rule may name one, and a lab's host may have a public one beside a private one.

        Raises:
            Forbidden: there is none.
        """
        is_https = target.scheme == "https"
        has_usual_port = target.port == _HTTPS_PORT or target.port >= _FIRST_UNPRIVILEGED_PORT
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
