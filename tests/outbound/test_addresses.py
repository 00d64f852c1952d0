"""Which addresses are public, what names a host, and what a rule allows (RFC 6890)."""

from ipaddress import ip_address, ip_network

import pytest

from idp.outbound.addresses import AllowRule, is_host_name, is_public, parse_address


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
        "2a00:1450:4001:80b::200e",
        "64:ff9b::8.8.8.8",
        "::ffff:8.8.8.8",
    ],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(parse_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_an_ipv4_address_of_a_special_purpose_is_not_public_rfc6890_s2_2_2(address: str) -> None:
    assert not is_public(parse_address(address))
    assert not is_public(parse_address(f"::ffff:{address}")), "mapped into IPv6 (RFC 4291 §2.5.5.2)"
    assert not is_public(parse_address(f"64:ff9b::{address}")), "behind NAT64 (RFC 6052 §2.1)"
    assert not is_public(parse_address(f"::{address}")), "compatible with IPv4 (RFC 4291 §2.5.5.1)"


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "100::1",
        "64:ff9b:1::808:808",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:808:808::1",
        "2002:7f00:1::",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%lo",
        "fec0::1",
        "ff02::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ],
)
def test_an_ipv6_address_of_a_special_purpose_is_not_public_rfc6890_s2_2_3(address: str) -> None:
    assert not is_public(parse_address(address))


@pytest.mark.parametrize(
    "name", ["localhost", "rp.example", "xn--bcher-kva.example", "a_b-c.d1", "1.2.3.4a", "x" * 63, "7.example"]
)
def test_a_host_name_is_accepted(name: str) -> None:
    assert is_host_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "rp.example.",
        ".rp.example",
        "rp..example",
        "RP.example",
        "-rp.example",
        "rp-.example",
        "*.example",
        "rp.example\n",
        "rp example",
        "rp%2eexample",
        "bücher.example",
        "x" * 64,
        "x." * 127 + "x",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x",
        "017700000001",
        "rp.example.0x1f",
        "::1",
        "[::1]",
    ],
)
def test_what_is_no_host_name_or_could_be_read_as_a_number_is_refused(text: str) -> None:
    assert not is_host_name(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("rp.example:8443", AllowRule("rp.example", 8443)),
        (" RP.Example:80 ", AllowRule("rp.example", 80)),
        ("127.0.0.1:9000", AllowRule(ip_network("127.0.0.1/32"), 9000)),
        ("[::1]:9000", AllowRule(ip_network("::1/128"), 9000)),
        ("127.0.0.1", AllowRule(ip_network("127.0.0.1/32"), None)),
        ("fd00::1", AllowRule(ip_network("fd00::1/128"), None)),
        ("10.0.0.0/8", AllowRule(ip_network("10.0.0.0/8"), None)),
        ("fd00::/8", AllowRule(ip_network("fd00::/8"), None)),
    ],
)
def test_a_rule_is_read_from_its_text_and_shown_so_that_it_can_be_read_again(text: str, rule: AllowRule) -> None:
    assert AllowRule.parse(text) == rule
    assert AllowRule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "rp.example",
        "rp.example:",
        "rp.example:0",
        "rp.example:65536",
        "rp.example:+80",
        "rp.example:08443",
        "rp.example.:8443",
        "*.example:8443",
        "https://rp.example:8443",
        "rp.example:8443/path",
        "[::1]",
        "[127.0.0.1]:80",
        "[::1:80",
        "127.1:80",
        "127.0.0.1/33",
        "10.0.0.0/8:443",
        ":80",
        "*",
    ],
)
def test_anything_else_is_no_rule_and_what_is_expected_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="must be host:port, addresses or networks such as"):
        AllowRule.parse(text)


def test_an_address_inside_a_network_is_no_rule_and_the_network_is_told() -> None:
    with pytest.raises(ValueError, match=r"write 10\.0\.0\.0/8"):
        AllowRule.parse("10.0.0.1/8")


@pytest.mark.parametrize(
    ("rule", "host", "port", "address", "allowed"),
    [
        ("rp.example:8443", "rp.example", 8443, "10.0.0.7", True),
        ("rp.example:8443", "rp.example", 8444, "10.0.0.7", False),
        ("rp.example:8443", "other.example", 8443, "10.0.0.7", False),
        ("rp.example:8443", "a.rp.example", 8443, "10.0.0.7", False),
        ("10.0.0.7:8443", "10.0.0.7", 8443, "10.0.0.7", True),
        ("10.0.0.7:8443", "rp.example", 8443, "10.0.0.7", True),
        ("10.0.0.7:8443", "10.0.0.7", 8444, "10.0.0.7", False),
        ("10.0.0.7:8443", "10.0.0.8", 8443, "10.0.0.8", False),
        ("10.0.0.0/8", "rp.example", 1, "10.255.255.255", True),
        ("10.0.0.0/8", "rp.example", 1, "11.0.0.0", False),
        ("10.0.0.0/8", "rp.example", 1, "::1", False),
        ("::1", "localhost", 443, "::1", True),
        ("::1", "localhost", 443, "127.0.0.1", False),
    ],
)
def test_a_rule_allows_what_it_names_and_nothing_else(
    rule: str, host: str, port: int, address: str, allowed: bool
) -> None:
    assert AllowRule.parse(rule).allows(host, port, ip_address(address)) is allowed
