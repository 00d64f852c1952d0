"""For whom an address counts."""

from ipaddress import ip_network

import pytest

from idp.services.networks import counted_network

EXEMPT = [ip_network("10.0.0.0/8"), ip_network("::1/128")]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8::7", "2001:db8::/64"),
        ("10.1.2.3", None),
        ("::ffff:10.1.2.3", None),
        ("::1", None),
        ("garbage", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_an_address_counts_for_its_network_unless_that_is_exempt(address: str | None, network: str | None):
    assert counted_network(address, ipv4_bits=24, exempt=EXEMPT) == network


def test_how_much_of_an_ipv4_network_one_caller_has_is_up_to_who_counts():
    assert counted_network("192.0.2.7", ipv4_bits=32, exempt=EXEMPT) == "192.0.2.7/32"
