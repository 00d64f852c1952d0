"""Limits of requests per network (RFC 6585 §4), counted in this process."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import ceil

from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from idp.domain.clock import system_clock

# Whoever has one address of these has them all.
_PREFIX_LENGTHS = {4: 24, 6: 64}


class TooManyRequests(Exception):
    """The network used up what it may do for now."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"too many requests; again in {retry_after_seconds} seconds")
        self.retry_after_seconds = retry_after_seconds


class RateLimits:
    """Named limits such as `20/hour`, counted for each network apart; `exempt` networks are never limited."""

    def __init__(self, limits: Mapping[str, str], *, exempt: Sequence[IPv4Network | IPv6Network]) -> None:
        self._limits = {name: parse(limit) for name, limit in limits.items()}
        self._exempt = tuple(exempt)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    async def hit(self, name: str, address: str | None) -> None:
        """Count one request from an address; None is one that the server was not told.

        Raises:
            TooManyRequests: the limit was reached before.
        """
        network = self._network(address)
        if network is None:
            return
        limit = self._limits[name]
        if not await self._limiter.hit(limit, name, network):
            window = await self._limiter.get_window_stats(limit, name, network)
            # The library measures by the machine's own time, so the rest is measured by it as well.
            raise TooManyRequests(max(1, ceil(window.reset_time - system_clock().timestamp())))

    def _network(self, address: str | None) -> str | None:
        """Return the network that an address counts for; None when it is exempt."""
        try:
            parsed = ip_address(address or "")
        except ValueError:
            return "unknown"
        if isinstance(parsed, IPv6Address):
            parsed = parsed.ipv4_mapped or parsed
        if any(parsed in network for network in self._exempt):
            return None
        return str(ip_network((parsed, _PREFIX_LENGTHS[parsed.version]), strict=False))
