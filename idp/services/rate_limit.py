"""Limits of requests per network (RFC 6585 §4), counted in this process."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from math import ceil
from typing import TYPE_CHECKING

from idp.domain.clock import system_clock
from idp.services.networks import counted_network

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import FixedWindowRateLimiter

_IPV4_BITS = 24


class TooManyRequests(Exception):
    """The network used up what it may do for now."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"too many requests; again in {retry_after_seconds} seconds")
        self.retry_after_seconds = retry_after_seconds


class RateLimits:
    """Named limits such as `20/hour`, counted for each network apart; `exempt` networks are never limited."""

    def __init__(self, limits: Mapping[str, str], *, exempt: Sequence[IPv4Network | IPv6Network]) -> None:
        self._texts = dict(limits)
        self._exempt = tuple(exempt)

    async def hit(self, name: str, address: str | None) -> None:
        """Count one request from an address; None is one that the server was not told.

        Raises:
            TooManyRequests: the limit was reached before.
        """
        network = counted_network(address, ipv4_bits=_IPV4_BITS, exempt=self._exempt)
        if network is None:
            return
        limiter, limits = self._counting
        if not await limiter.hit(limits[name], name, network):
            window = await limiter.get_window_stats(limits[name], name, network)
            # The library measures by the machine's own time, so the rest is measured by it as well.
            raise TooManyRequests(max(1, ceil(window.reset_time - system_clock().timestamp())))

    @cached_property
    def _counting(self) -> "tuple[FixedWindowRateLimiter, Mapping[str, RateLimitItem]]":
        # Loaded with the first request that counts: the library, and what it needs of others, is slow to load.
        from limits import parse
        from limits.aio.storage import MemoryStorage
        from limits.aio.strategies import FixedWindowRateLimiter

        return FixedWindowRateLimiter(MemoryStorage()), {name: parse(text) for name, text in self._texts.items()}
