"""For whom an address counts where callers are counted: whoever has one address of a network has them all."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_IPV6_BITS = 64


def counted_network(address: str | None, *, ipv4_bits: int, exempt: Iterable[IPv4Network | IPv6Network]) -> str | None:
    """Return the network that an address counts for; None when it is exempt.

    All addresses that the server was not told, or cannot read, count as one.
    """
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    if any(parsed in network for network in exempt):
        return None
    return str(ip_network((parsed, ipv4_bits if parsed.version == 4 else _IPV6_BITS), strict=False))
