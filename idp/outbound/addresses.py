"""Addresses that a server may be made to reach (RFC 6890), and the rules that allow others as well."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

IPAddress = IPv4Address | IPv6Address

# Our own list, not `is_global`: that changes from one Python to the next and knows no metadata services.
_IPV4_NOT_PUBLIC = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network (RFC 791 §3.2)
            "10.0.0.0/8",  # private (RFC 1918)
            "100.64.0.0/10",  # shared by the customers of a carrier (RFC 6598), and a cloud's metadata service
            "127.0.0.0/8",  # loopback (RFC 1122 §3.2.1.3)
            "168.63.129.16/32",  # a cloud's metadata service at a public address
            "169.254.0.0/16",  # link-local (RFC 3927), and most metadata services
            "172.16.0.0/12",  # private (RFC 1918)
            "192.0.0.0/24",  # protocol assignments (RFC 6890), and a cloud's metadata service
            "192.0.2.0/24",  # documentation (RFC 5737)
            "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
            "192.168.0.0/16",  # private (RFC 1918)
            "198.18.0.0/15",  # benchmarks (RFC 2544)
            "198.51.100.0/24",  # documentation (RFC 5737)
            "203.0.113.0/24",  # documentation (RFC 5737)
            "224.0.0.0/4",  # multicast (RFC 5771)
            "240.0.0.0/4",  # reserved (RFC 1112 §4), and broadcast
        ),
    )
)
# Whatever lies outside is loopback, unspecified, unique local, link-local, multicast or not given out (RFC 4291).
_IPV6_GLOBAL_UNICAST = IPv6Network("2000::/3")
_IPV6_NOT_PUBLIC = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments (RFC 2928): Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation (RFC 3849)
            "2002::/16",  # 6to4 (RFC 3056), which hides an IPv4 address
            "3fff::/20",  # documentation (RFC 9637)
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# A last label that is a number makes an IPv4 address for some: 2130706433, 0x7f.1, 127.1 (WHATWG URL §3.5).
_HOST_NAME = re.compile(rf"(?!(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z)(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


def is_host_name(text: str) -> bool:
    """Whether a text is a host name in lower case (RFC 1123 §2.1), in ASCII, without a dot at its end.

    An underscore passes, as containers bear such names; a number that could be read as an address does not.
    """
    return _HOST_NAME.fullmatch(text) is not None


def parse_address(text: str) -> IPAddress:
    """Read an address; an IPv4 address that is mapped into IPv6 (RFC 4291 §2.5.5.2) is what it stands for.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the public internet: global unicast, and of no special purpose (RFC 6890)."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _IPV4_NOT_PUBLIC)
    if address in _NAT64:
        # A network without IPv4 reaches all of it through these (RFC 6052 §2.1).
        return is_public(IPv4Address(address.packed[-4:]))
    return address in _IPV6_GLOBAL_UNICAST and not any(address in network for network in _IPV6_NOT_PUBLIC)


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One entry of `IDP_OUTBOUND_ALLOW`: a host name whatever it resolves to, or a network; None is any port."""

    host: str | IPv4Network | IPv6Network
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name:port`, `address:port`, `[address]:port`, an address or a network.

        Raises:
            ValueError: it is none of these; the text says what is expected.
        """
        text = text.strip().lower()
        try:
            return cls(ip_network(text), None)
        except ValueError as error:
            if "host bits" in str(error):
                raise ValueError(f"has an address inside a network: write {ip_network(text, strict=False)}") from None
        host, _, port = text.rpartition(":")
        if _PORT.fullmatch(port) and int(port) <= 65535:
            if is_host_name(host):
                return cls(host, int(port))
            try:
                if host.startswith("[") and host.endswith("]"):
                    return cls(IPv6Network(IPv6Address(host[1:-1])), int(port))
                return cls(IPv4Network(IPv4Address(host)), int(port))
            except ValueError:
                pass
        raise ValueError("must be host:port, addresses or networks such as rp.example:8443, 127.0.0.1 or 10.0.0.0/8")

    def allows(self, host: str, port: int, address: IPAddress) -> bool:
        """Whether the rule names a target, by its host or by an address of it."""
        if self.port not in (None, port):
            return False
        return host == self.host if isinstance(self.host, str) else address in self.host

    def __str__(self) -> str:
        if self.port is None:
            return str(self.host)
        if isinstance(self.host, str):
            return f"{self.host}:{self.port}"
        address = self.host.network_address
        return f"[{address}]:{self.port}" if isinstance(address, IPv6Address) else f"{address}:{self.port}"
