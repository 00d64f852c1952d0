"""Attempts to make the client reach what it must not: nothing is dialled, whatever the URL or the name server says."""

from collections.abc import Sequence

import pytest

from idp.outbound.addresses import AllowRule
from idp.outbound.client import Fetched, Forbidden, Outbound, OutboundError
from tests.outbound.conftest import OTHER_PUBLIC, PUBLIC, Authority, Internet, Serve

SECRET = "correct-horse-battery"


def resolving(*answers: Sequence[str]):
    """A name server that gives one answer after the other, and then the last for ever; `asked` is what it was asked."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        resolve.asked.append((host, port))
        return answers[min(len(resolve.asked), len(answers)) - 1]

    resolve.asked = []
    return resolve


async def refusal(client: Outbound, url: str) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        await client.get(url, accept="*/*")
    return caught.value


# ── Addresses that the URL itself names ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://127.0.0.1/", id="loopback"),
        pytest.param("https://127.1.2.3/", id="another address of loopback"),
        pytest.param("https://0.0.0.0/", id="the unspecified address, which is this machine for Linux"),
        pytest.param("https://[::]/", id="the unspecified address of IPv6"),
        pytest.param("https://[::1]/", id="loopback of IPv6"),
        pytest.param("https://[0:0:0:0:0:0:0:1]/", id="loopback of IPv6, written out"),
        pytest.param("https://[::ffff:127.0.0.1]/", id="loopback mapped into IPv6"),
        pytest.param("https://[::ffff:7f00:1]/", id="loopback mapped into IPv6, in hexadecimal"),
        pytest.param("https://[::127.0.0.1]/", id="loopback as an IPv4-compatible address"),
        pytest.param("https://[64:ff9b::7f00:1]/", id="loopback behind NAT64"),
        pytest.param("https://[64:ff9b:1::a00:1]/", id="a private address behind a local NAT64"),
        pytest.param("https://[2002:7f00:1::]/", id="loopback behind 6to4"),
        pytest.param("https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", id="loopback behind Teredo"),
        pytest.param("https://10.0.0.1/", id="a private network"),
        pytest.param("https://172.31.255.254/", id="another private network"),
        pytest.param("https://192.168.1.1/", id="a router at home"),
        pytest.param("https://100.64.0.1/", id="a carrier's network"),
        pytest.param("https://[fd00::1]/", id="a unique local address"),
        pytest.param("https://[fe80::1]/", id="a link-local address"),
        pytest.param("https://169.254.169.254/latest/meta-data/", id="the metadata of a cloud"),
        pytest.param("https://[fd00:ec2::254]/", id="the metadata of a cloud over IPv6"),
        pytest.param("https://100.100.100.200/", id="the metadata of another cloud"),
        pytest.param("https://192.0.0.192/", id="the metadata of a third cloud"),
        pytest.param("https://168.63.129.16/", id="the metadata of a fourth cloud, at a public address"),
        pytest.param("https://224.0.0.1/", id="multicast"),
        pytest.param("https://255.255.255.255/", id="broadcast"),
        pytest.param("https://127。0。0。1/", id="loopback with ideographic full stops"),
        pytest.param("https://127.0.0.1:8443/", id="loopback at a high port"),
        pytest.param("http://127.0.0.1/", id="loopback over plain http"),
    ],
)
async def test_an_address_that_is_not_public_is_not_reached(internet: Internet, url: str) -> None:
    refused = await refusal(Outbound(resolve=resolving([PUBLIC])), url)
    assert isinstance(refused, Forbidden)
    assert "IDP_OUTBOUND_ALLOW" in str(refused)
    assert not internet.dialled


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://2130706433/", id="loopback as one decimal number"),
        pytest.param("https://0x7f000001/", id="loopback as one hexadecimal number"),
        pytest.param("https://017700000001/", id="loopback as one octal number"),
        pytest.param("https://0x7f.1/", id="loopback in two numbers"),
        pytest.param("https://127.1/", id="loopback in two decimal numbers"),
        pytest.param("https://0177.0.0.1/", id="loopback with an octal number"),
        pytest.param("https://127.0.0.1./", id="loopback with a dot at its end"),
        pytest.param("https://localhost./", id="a name with a dot at its end"),
        pytest.param("https://%31%32%37.0.0.1/", id="percent-encoded digits"),
        pytest.param("https://rp%2eexample/", id="a percent-encoded dot"),
        pytest.param("https://rp%00.example/", id="a percent-encoded zero"),
        pytest.param("https://①②⑦.⓪.⓪.①/", id="digits in circles"),
        pytest.param("https://ｌocalhost/", id="a wide letter"),
        pytest.param("https://[fe80::1%25lo]/", id="an address with a zone"),
        pytest.param("https://[fe80::1%lo]/", id="an address with a zone, not encoded"),
        pytest.param("https://[::ffff:127.0.0.1%1]/", id="a mapped address with a zone"),
        pytest.param(f"https://[{OTHER_PUBLIC}%25lo]/", id="a public address with a zone"),
        pytest.param("https://[::1/", id="a bracket that is not closed"),
        pytest.param("https://[v1.127.0.0.1]/", id="an address of a future version"),
        pytest.param("https://rp.example@127.0.0.1/", id="a user that looks like the host"),
        pytest.param("https://user:password@rp.example/", id="a user with a password"),
        pytest.param("https://rp.example\\@127.0.0.1/", id="a backslash before the at sign"),
        pytest.param("https://127.0.0.1\\.rp.example/", id="a backslash in the host"),
        pytest.param("https://127.0.0.1\\/rp.example/", id="a backslash before the path"),
        pytest.param("https://rp.example:443@[::1]/", id="a user that looks like host and port"),
        pytest.param("https://127.0.0.1#@rp.example:99999/", id="a fragment that looks like the host"),
        pytest.param("https://rp.example:0/", id="port zero"),
        pytest.param("https://rp.example:65536/", id="a port beyond all ports"),
        pytest.param("https://rp.example:-1/", id="a negative port"),
        pytest.param("https://rp.example:443:80/", id="two ports"),
        pytest.param("https://rp.exa\tmple/", id="a tab"),
        pytest.param("https://rp.example/\r\nHost: localhost", id="another header in the path"),
        pytest.param("https://rp.example\r\nHost: localhost/", id="another header in the host"),
        pytest.param("https://rp.exa mple/", id="a space in the host"),
        pytest.param(" https://rp.example/", id="a space before the scheme"),
        pytest.param("https://*.example/", id="a wildcard"),
        pytest.param("https://" + "x" * 64 + ".example/", id="a label that is too long"),
        pytest.param("https://" + "x." * 127 + "example/", id="a name that is too long"),
        pytest.param("https://rp.example/" + "x" * 70_000, id="a path that is too long"),
        pytest.param("https://rp.example/\ud800", id="half a character"),
        pytest.param("https:///path", id="no host"),
        pytest.param("https:rp.example", id="no slashes"),
        pytest.param("//rp.example/", id="no scheme"),
        pytest.param("", id="nothing"),
        pytest.param("ftp://rp.example/", id="another protocol"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("data:application/json,{}", id="data"),
        pytest.param("javascript:alert(1)", id="a script"),
        pytest.param("gopher://rp.example/_x", id="a protocol that can speak any other"),
    ],
)
async def test_a_url_that_could_be_read_in_two_ways_is_not_even_resolved(internet: Internet, url: str) -> None:
    resolve = resolving([PUBLIC])
    await refusal(Outbound(resolve=resolve), url)
    assert not internet.dialled
    assert not resolve.asked


# ── What the name server says ───────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["127.0.0.1"], id="loopback"),
        pytest.param(["::1", "127.0.0.1"], id="both loopbacks"),
        pytest.param(["169.254.169.254"], id="the metadata of a cloud"),
        pytest.param(["10.0.0.1", "192.168.0.1"], id="private networks"),
        pytest.param(["::ffff:10.0.0.1"], id="a private network mapped into IPv6"),
        pytest.param(["64:ff9b::a00:1"], id="a private network behind NAT64"),
        pytest.param(["fe80::1%lo"], id="a link-local address with a zone"),
        pytest.param([], id="nothing"),
    ],
)
async def test_a_name_for_what_is_not_public_is_not_reached(internet: Internet, addresses: list[str]) -> None:
    refused = await refusal(Outbound(resolve=resolving(addresses)), "https://rp.example/")
    assert isinstance(refused, Forbidden)
    assert not internet.dialled


async def test_of_several_addresses_only_the_public_ones_are_reached(
    internet: Internet, serve: Serve, authority: Authority
) -> None:
    internet.routes[PUBLIC] = await serve()
    loopback = await serve()
    client = Outbound(ca_file=authority.ca_file, resolve=resolving(["127.0.0.1", "10.0.0.1", PUBLIC, "::1"]))
    assert (await client.get(f"https://rp.example:{loopback.port}/", accept="*/*")).body == b"{}"
    assert internet.dialled == [(PUBLIC, loopback.port)]
    assert not loopback.requests


async def test_a_name_is_resolved_once_so_that_a_second_answer_cannot_lead_elsewhere(
    internet: Internet, serve: Serve, authority: Authority
) -> None:
    internet.routes[PUBLIC], loopback = await serve(), await serve()
    resolve = resolving([PUBLIC], ["127.0.0.1"])
    client = Outbound(ca_file=authority.ca_file, resolve=resolve)
    url = f"https://rp.example:{loopback.port}/"
    assert (await client.get(url, accept="*/*")).status == 200
    assert resolve.asked == [("rp.example", loopback.port)]
    assert internet.dialled == [(PUBLIC, loopback.port)]

    assert isinstance(await refusal(client, url), Forbidden), "the next request asks and checks again"
    assert len(internet.dialled) == 1
    assert not loopback.requests


async def test_the_system_is_not_asked_for_the_name_again_when_the_connection_is_made(
    internet: Internet, serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(host: str, *_: object, **__: object) -> object:
        raise AssertionError(f"{host} is resolved a second time")

    peer = await serve()
    monkeypatch.setattr("socket.getaddrinfo", ask)
    client = Outbound(allow=[AllowRule.parse("127.0.0.1")], ca_file=authority.ca_file, resolve=resolving(["127.0.0.1"]))
    assert (await client.get(f"https://rp.example:{peer.port}/", accept="*/*")).status == 200


async def test_every_request_has_a_connection_of_its_own(
    internet: Internet, serve: Serve, authority: Authority
) -> None:
    """A kept one would lead to an address that was checked for an answer of the name server long past."""
    internet.routes = {PUBLIC: await serve(), OTHER_PUBLIC: await serve()}
    client = Outbound(ca_file=authority.ca_file, resolve=resolving([PUBLIC], [OTHER_PUBLIC]))
    for _ in range(2):
        await client.get("https://rp.example/", accept="*/*")
    assert internet.dialled == [(PUBLIC, 443), (OTHER_PUBLIC, 443)]
    for peer in internet.routes.values():
        await peer.left.wait()
        assert peer.fields()["connection"] == "close"


# ── Scheme and port ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("url", ["http://rp.example/", "http://rp.example:443/", "http://rp.example:8080/"])
async def test_plain_http_is_refused_at_a_public_address(internet: Internet, url: str) -> None:
    refused = await refusal(Outbound(resolve=resolving([PUBLIC])), url)
    assert isinstance(refused, Forbidden)
    assert "is not https" in str(refused)
    assert not internet.dialled


@pytest.mark.parametrize("port", [1, 22, 25, 80, 444, 993, 1023])
async def test_the_ports_of_other_services_are_refused_at_a_public_address(internet: Internet, port: int) -> None:
    refused = await refusal(Outbound(resolve=resolving([PUBLIC])), f"https://rp.example:{port}/")
    assert isinstance(refused, Forbidden)
    assert "port below 1024" in str(refused)
    assert not internet.dialled


@pytest.mark.parametrize("port", [443, 1024, 8443, 65535])
async def test_443_and_the_ports_from_1024_are_reached_at_a_public_address(
    internet: Internet, serve: Serve, authority: Authority, port: int
) -> None:
    internet.routes[PUBLIC] = await serve()
    client = Outbound(ca_file=authority.ca_file, resolve=resolving([PUBLIC]))
    assert (await client.get(f"https://rp.example:{port}/", accept="*/*")).status == 200
    assert internet.dialled == [(PUBLIC, port)]


# ── What the rules allow ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("rule", "url"),
    [
        ("localhost:{port}", "http://localhost:{port}/"),
        ("localhost:{port}", "http://LOCALHOST:{port}/"),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}/"),
        ("127.0.0.1:{port}", "http://localhost:{port}/"),
        ("127.0.0.1:{port}", "http://[::ffff:127.0.0.1]:{port}/"),
        ("127.0.0.1", "http://localhost:{port}/"),
        ("127.0.0.0/8", "http://127.0.0.1:{port}/"),
        ("0.0.0.0/0", "http://localhost:{port}/"),
    ],
)
async def test_what_a_rule_names_is_reached_also_over_plain_http(
    internet: Internet, serve: Serve, rule: str, url: str
) -> None:
    peer = await serve(tls=None)
    client = Outbound(
        allow=[AllowRule.parse("10.0.0.0/8"), AllowRule.parse(rule.format(port=peer.port))],
        resolve=resolving(["127.0.0.1"]),
    )
    fetched = await client.get(url.format(port=peer.port), accept="*/*")
    assert fetched == Fetched(200, "application/json", b"{}", None)


@pytest.mark.parametrize(
    ("rule", "url"),
    [
        pytest.param("localhost:{other}", "http://localhost:{port}/", id="another port"),
        pytest.param("rp.example:{port}", "http://localhost:{port}/", id="another name of the same address"),
        pytest.param("localhost:{port}", "http://127.0.0.1:{port}/", id="the address of an allowed name"),
        pytest.param("localhost:{port}", "http://a.localhost:{port}/", id="a name below the allowed one"),
        pytest.param("localhost:{port}", "http://localhost.:{port}/", id="an allowed name with a dot at its end"),
        pytest.param("127.0.0.1:{other}", "http://127.0.0.1:{port}/", id="another port of an allowed address"),
        pytest.param("127.0.0.2", "http://127.0.0.1:{port}/", id="another address"),
        pytest.param("::1", "http://127.0.0.1:{port}/", id="the other loopback"),
        pytest.param("127.0.0.1", "http://[64:ff9b::7f00:1]:{port}/", id="an allowed address behind NAT64"),
        pytest.param("127.0.0.1", "ftp://127.0.0.1:{port}/", id="another protocol"),
    ],
)
async def test_a_rule_allows_nothing_beside_what_it_names(
    internet: Internet, serve: Serve, rule: str, url: str
) -> None:
    peer = await serve(tls=None)
    client = Outbound(
        allow=[AllowRule.parse(rule.format(port=peer.port, other=peer.port - 1))], resolve=resolving(["127.0.0.1"])
    )
    await refusal(client, url.format(port=peer.port))
    assert not internet.dialled


async def test_a_rule_for_one_address_of_localhost_is_enough_and_the_other_is_not_reached(
    internet: Internet, serve: Serve
) -> None:
    peer = await serve(tls=None)
    client = Outbound(allow=[AllowRule.parse("127.0.0.1")], resolve=resolving(["::1", "127.0.0.1"]))
    assert (await client.get(f"http://localhost:{peer.port}/", accept="*/*")).status == 200
    assert internet.dialled == [("127.0.0.1", peer.port)]


async def test_a_rule_does_not_open_plain_http_to_the_public_addresses_of_the_same_name(
    internet: Internet, serve: Serve
) -> None:
    peer = await serve(tls=None)
    client = Outbound(allow=[AllowRule.parse("127.0.0.1")], resolve=resolving([PUBLIC, "127.0.0.1"]))
    assert (await client.get(f"http://rp.example:{peer.port}/", accept="*/*")).status == 200
    assert internet.dialled == [("127.0.0.1", peer.port)]


# ── Redirects ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
async def test_a_redirect_is_an_error_and_is_not_followed_rfc9110_s15_4(
    internet: Internet, serve: Serve, authority: Authority, status: int
) -> None:
    target = await serve(tls=None)
    location = f"http://127.0.0.1:{target.port}/{SECRET}"
    answer = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    internet.routes[PUBLIC] = await serve(answer)
    client = Outbound(allow=[AllowRule.parse("127.0.0.1")], ca_file=authority.ca_file, resolve=resolving([PUBLIC]))
    refused = await refusal(client, "https://rp.example/")
    assert str(status) in str(refused)
    assert SECRET not in str(refused)
    assert internet.dialled == [(PUBLIC, 443)]
    assert not target.requests


# ── The environment ─────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_proxy_of_the_environment_is_passed_over(
    internet: Internet, serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet.routes[PUBLIC], proxy = await serve(), await serve(tls=None)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    client = Outbound(ca_file=authority.ca_file, resolve=resolving([PUBLIC]))
    assert (await client.get("https://rp.example/", accept="*/*")).status == 200
    assert internet.dialled == [(PUBLIC, 443)]


async def test_authorities_and_passwords_of_the_environment_are_passed_over(
    internet: Internet, serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    peer = await serve(tls=None)
    (tmp_path / "netrc").write_text(f"machine localhost login alice password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    client = Outbound(allow=[AllowRule.parse("127.0.0.1")], resolve=resolving(["127.0.0.1"]))
    await client.get(f"http://localhost:{peer.port}/", accept="*/*")
    assert "authorization" not in peer.fields()
    assert "certificate" in str(await refusal(client, f"https://rp.example:{(await serve()).port}/"))
