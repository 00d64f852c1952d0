"""The outermost layer: request id, caller's address, security headers, metrics and the access log in one pass."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from idp.observe.logs import get_logger
from idp.observe.metrics import Metrics
from idp.observe.request_id import is_request_id, new_request_id, request_id
from idp.services.audit import caller_address

_log = get_logger(__name__)
_HSTS = (b"strict-transport-security", b"max-age=31536000")


def security_headers(*, https: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers that every answer bears."""
    return [(b"x-content-type-options", b"nosniff"), *([_HSTS] if https else [])]


class Edge:
    """Wraps the application; `open` gives it the metrics once the store is open."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted_proxies: Sequence[IPv4Network | IPv6Network],
        https: bool,
        access_log: str,
    ) -> None:
        self._app = app
        self._trusted = tuple(trusted_proxies)
        self._headers = security_headers(https=https)
        self._log_from = {"none": 600, "errors": 500, "all": 100}[access_log]
        self._metrics: Metrics | None = None

    def open(self, metrics: Metrics) -> None:
        """Start counting."""
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        status = 500
        identifier = self._identify(scope)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.extend(header for header in self._headers if header not in headers)
                headers.append((b"x-request-id", identifier.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, perf_counter() - started)

    def _identify(self, scope: Scope) -> str:
        client = scope.get("client")
        # Without the zone of a link-local address: it means something on its own machine only.
        address = client[0].partition("%")[0] if client else None
        identifier = None
        if self._trusted and address is not None and self._is_trusted(address):
            headers = dict(scope["headers"])
            address = self._forwarded(headers.get(b"x-forwarded-for", b""), address)
            sent = headers.get(b"x-request-id", b"").decode("latin-1")
            identifier = sent if is_request_id(sent) else None
        identifier = identifier or new_request_id()
        request_id.set(identifier)
        caller_address.set(address)
        return identifier

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._trusted)

    def _forwarded(self, header: bytes, address: str) -> str:
        """Return the last address that no proxy of ours added; what stands left of it anybody may have written."""
        for hop in reversed(header.decode("latin-1").split(",")):
            try:
                address = str(ip_address(hop.strip().partition("%")[0]))
            except ValueError:
                break
            if not self._is_trusted(address):
                break
        return address

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route: str = getattr(scope.get("route"), "path", None) or "none"
        if self._metrics is not None:
            self._metrics.observe_request(route, scope["method"], status, seconds)
        if status >= self._log_from:
            _log.info(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 1),
                address=caller_address.get(),
            )
