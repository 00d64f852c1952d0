"""What the client asks for, what it answers, and its limits: certificates, size, time and form."""

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from idp.outbound.addresses import AllowRule
from idp.outbound.client import Fetched, Forbidden, Outbound, OutboundError, Unreachable
from tests.outbound.conftest import OTHER_PUBLIC, PUBLIC, Authority, Handler, Internet, Peer, Serve

SECRET = "correct-horse-battery"
LOOPBACK = [AllowRule.parse("127.0.0.1")]
SHORT = timedelta(seconds=0.3)
DATE = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


async def on_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
def client(authority: Authority) -> Outbound:
    return Outbound(allow=LOOPBACK, ca_file=authority.ca_file, resolve=on_loopback)


@pytest.fixture
def hasty(authority: Authority) -> Outbound:
    return Outbound(allow=LOOPBACK, ca_file=authority.ca_file, resolve=on_loopback, timeout=SHORT)


async def get(client: Outbound, peer: Peer, path: str = "/", scheme: str = "https", **limits: int) -> Fetched:
    return await client.get(f"{scheme}://rp.example:{peer.port}{path}", accept="application/json", **limits)


async def failure(client: Outbound, peer: Peer, path: str = "/", scheme: str = "https", **limits: int) -> str:
    with pytest.raises(OutboundError) as caught:
        await get(client, peer, path, scheme, **limits)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def answer(body: bytes = b"{}", *fields: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def pouring(start: bytes, more: bytes) -> Handler:
    """A handler that says something once and something more without end."""

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.transport.is_closing():
            writer.write(more)
            await writer.drain()
            # To wait until there is room is not to give way, and the caller lives in the same loop.
            await asyncio.sleep(0)

    return pour


# ── What is asked ───────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_document_is_asked_for_under_its_name_without_fragment_and_without_anything_of_ours(
    client: Outbound, serve: Serve
) -> None:
    peer = await serve()
    await get(client, peer, "/jwks?a=b%20c&d=/é#fragment")
    assert peer.requests[0].startswith("GET /jwks?a=b%20c&d=/%C3%A9 HTTP/1.1\r\n")
    assert peer.fields() == {
        "host": f"rp.example:{peer.port}",
        "user-agent": "lab-id",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
    }
    assert peer.names == ["rp.example"], "the name is also told for the certificate (RFC 6066 §3)"


async def test_a_form_is_posted_as_a_form(client: Outbound, serve: Serve) -> None:
    peer = await serve(answer(b"", status="204 No Content"))
    fetched = await client.post_form(f"https://rp.example:{peer.port}/logout", {"logout_token": "a.b&c=d é"})
    assert fetched.status == 204
    fields = peer.fields()
    assert fields["content-type"] == "application/x-www-form-urlencoded"
    assert fields["host"] == f"rp.example:{peer.port}"
    assert peer.requests[0].startswith("POST /logout HTTP/1.1\r\n")
    assert peer.requests[0].endswith("\r\n\r\nlogout_token=a.b%26c%3Dd+%C3%A9")


@pytest.mark.parametrize(
    ("host", "named"),
    [("rp.example", "rp.example"), ("bücher.example", "xn--bcher-kva.example"), (PUBLIC, PUBLIC)],
)
async def test_the_usual_port_is_left_out_and_a_name_with_other_letters_is_asked_for_as_in_dns(
    internet: Internet, serve: Serve, authority: Authority, host: str, named: str
) -> None:
    async def resolve(name: str, port: int) -> Sequence[str]:
        assert (name, port) == (named, 443)
        return [PUBLIC]

    internet.routes[PUBLIC] = peer = await serve(tls=authority.server(named))
    client = Outbound(ca_file=authority.ca_file, resolve=resolve)
    await client.get(f"https://{host}", accept="*/*")
    assert peer.requests[0].startswith("GET / HTTP/1.1\r\n")
    assert peer.fields()["host"] == named


async def test_any_method_is_sent_with_the_given_headers_and_body(client: Outbound, serve: Serve) -> None:
    peer = await serve()
    headers = {"Accept": "application/json", "Content-Type": "text/plain"}
    await client.send("PUT", f"https://rp.example:{peer.port}/a", headers, b"body")
    assert peer.requests[0].startswith("PUT /a HTTP/1.1\r\n")
    assert peer.requests[0].endswith("\r\n\r\nbody")
    assert peer.fields() == {
        "host": f"rp.example:{peer.port}",
        "user-agent": "lab-id",
        "accept": "application/json",
        "accept-encoding": "identity",
        "connection": "close",
        "content-type": "text/plain",
        "content-length": "4",
    }


@pytest.mark.parametrize("value", [f"{SECRET} é", f"{SECRET}\r\nX-Other: y", f"{SECRET}\0", f"{SECRET}\ud800"])
async def test_a_header_that_cannot_be_sent_is_refused_without_repeating_it(
    client: Outbound, serve: Serve, value: str
) -> None:
    """An access token that somebody else chose is such a header."""
    peer = await serve()
    with pytest.raises(OutboundError) as caught:
        await client.send("GET", f"https://rp.example:{peer.port}/", {"Authorization": value}, None)
    assert SECRET not in str(caught.value)
    assert not peer.requests


async def test_an_ipv6_address_is_asked_for_in_brackets(serve: Serve, authority: Authority) -> None:
    peer = await serve(host="::1")
    client = Outbound(allow=[AllowRule.parse(f"[::1]:{peer.port}")], ca_file=authority.ca_file)
    assert (await client.get(f"https://[0:0::1]:{peer.port}/", accept="*/*")).status == 200
    assert peer.fields()["host"] == f"[0:0::1]:{peer.port}"


async def test_a_cookie_is_not_sent_back(client: Outbound, serve: Serve) -> None:
    peer = await serve(answer(b"{}", "Set-Cookie: a=b"))
    for _ in range(2):
        await get(client, peer)
    assert len(peer.requests) == 2
    assert "cookie" not in "".join(peer.requests).lower()


# ── What is answered ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("status", [200, 201, 204, 400, 404, 418, 500, 503])
async def test_every_status_but_a_redirect_is_for_the_caller_to_judge(
    client: Outbound, serve: Serve, status: int
) -> None:
    assert (await get(client, await serve(answer(b"", status=f"{status} X")))).status == status


@pytest.mark.parametrize(
    ("field", "media_type"),
    [
        ("Content-Type: application/json", "application/json"),
        ("Content-Type: Application/JWK-Set+JSON ; charset=utf-8", "application/jwk-set+json"),
        ("Content-Type:", ""),
        ("X-Other: application/json", ""),
    ],
)
async def test_the_media_type_is_told_without_parameters_rfc9110_s8_3_1(
    client: Outbound, serve: Serve, field: str, media_type: str
) -> None:
    assert (await get(client, await serve(answer(b"{}", field)))).content_type == media_type


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([], None),
        (["Cache-Control: max-age=600"], 600),
        (["Cache-Control: public, Max-Age=600, must-revalidate"], 600),
        (['Cache-Control: private="a, max-age=1", max-age="60"'], 60),
        (["Cache-Control: public", "Cache-Control: max-age=60"], 60),
        (["Cache-Control: max-age=0"], 0),
        (["Cache-Control: max-age=60, no-store"], 0),
        (["Cache-Control: No-Store", "Cache-Control: max-age=60"], 0),
        (["Cache-Control: no-cache, max-age=60"], 0),
        (['Cache-Control: no-cache="Set-Cookie", max-age=60'], 60),
        (["Cache-Control: s-maxage=60"], None),
        (["Cache-Control: max-age=-1"], None),
        (["Cache-Control: max-age=1.5"], None),
        (["Cache-Control: max-age=" + "9" * 5000], None),
        (["Cache-Control: max-age"], None),
    ],
)
async def test_how_long_an_answer_may_be_kept_is_told_rfc9111_s5_2_2(
    client: Outbound, serve: Serve, fields: list[str], seconds: int | None
) -> None:
    fetched = await get(client, await serve(answer(b"{}", *fields)))
    assert fetched.max_age == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("fields", "date"),
    [
        (["Date: Sun, 06 Nov 1994 08:49:37 GMT"], DATE),
        (["date: Sun, 06 Nov 1994 10:49:37 +0200"], DATE),
        (["Date: Sun, 06 Nov 1994 08:49:37 -0000"], DATE),
        (["Date: Sun Nov  6 08:49:37 1994"], DATE),
        ([], None),
        (["Date:"], None),
        (["Date: yesterday"], None),
        (["Date: Sun, 99 Nov 1994 08:49:37 GMT"], None),
        (["Date: Sun, 06 Nov 99999 08:49:37 GMT"], None),
        (["Date: Fri, 31 Dec 9999 23:59:59 -1400"], None),
        (["Date: " + "9" * 5000], None),
    ],
)
async def test_the_time_of_the_other_side_is_told_rfc9110_s6_6_1(
    client: Outbound, serve: Serve, fields: list[str], date: datetime | None
) -> None:
    fetched = await get(client, await serve(answer(b"{}", *fields)))
    assert fetched.date == date
    assert fetched.date is None or fetched.date.tzinfo is UTC


async def test_an_answer_in_chunks_and_one_that_ends_with_the_connection_are_read_whole(
    client: Outbound, serve: Serve
) -> None:
    chunked = await serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    assert (await get(client, chunked)).body == b"{}"

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n{}")
        writer.close()

    assert (await get(client, await serve(close))).body == b"{}"


# ── Certificates ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_a_certificate_of_an_authority_that_is_not_trusted_is_refused(
    client: Outbound, serve: Serve, other_authority: Authority
) -> None:
    peer = await serve(tls=other_authority.server("rp.example"))
    assert "certificate verify failed" in await failure(client, peer)
    assert not peer.requests


async def test_a_certificate_for_another_name_is_refused_though_it_names_the_address(
    client: Outbound, serve: Serve, authority: Authority
) -> None:
    peer = await serve(tls=authority.server("other.example", "127.0.0.1", "localhost"))
    assert "not valid for 'rp.example'" in await failure(client, peer)
    assert not peer.requests


async def test_an_expired_certificate_is_refused(client: Outbound, serve: Serve, authority: Authority) -> None:
    peer = await serve(tls=authority.server("rp.example", until=datetime(2021, 1, 1, tzinfo=UTC)))
    assert "expired" in await failure(client, peer)
    assert not peer.requests


async def test_the_authorities_of_the_system_are_trusted_beside_those_of_the_file(
    serve: Serve, authority: Authority, other_authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ssl.get_default_verify_paths()._replace(openssl_cafile=str(other_authority.ca_file), openssl_capath="")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    of_file, of_system = await serve(), await serve(tls=other_authority.server("rp.example"))
    client = Outbound(allow=LOOPBACK, ca_file=authority.ca_file, resolve=on_loopback)
    assert (await get(client, of_file)).status == (await get(client, of_system)).status == 200
    without_file = Outbound(allow=LOOPBACK, resolve=on_loopback)
    assert (await get(without_file, of_system)).status == 200
    assert "certificate verify failed" in await failure(without_file, of_file)


async def test_a_server_that_speaks_no_tls_is_refused(client: Outbound, serve: Serve) -> None:
    assert "cannot be reached" in await failure(client, await serve(tls=None, listens_first=False))


# ── Size ────────────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_an_answer_of_the_largest_size_is_read_and_one_byte_more_is_refused(
    serve: Serve, authority: Authority
) -> None:
    peer = await serve(answer(b"x" * 1000))
    largest = Outbound(allow=LOOPBACK, ca_file=authority.ca_file, resolve=on_loopback, max_bytes=1000)
    smaller = Outbound(allow=LOOPBACK, ca_file=authority.ca_file, resolve=on_loopback, max_bytes=999)
    assert len((await get(largest, peer)).body) == 1000
    assert "more than 999 bytes" in await failure(smaller, peer)
    with pytest.raises(OutboundError, match="more than 999 bytes"):
        await smaller.post_form(f"https://rp.example:{peer.port}/", {})


async def test_one_request_may_have_a_limit_of_its_own(client: Outbound, serve: Serve) -> None:
    peer = await serve(answer(b"x" * 300_000))
    assert len((await get(client, peer, max_bytes=300_000)).body) == 300_000
    assert "more than 262144 bytes" in await failure(client, peer)
    assert "more than 0 bytes" in await failure(client, peer, max_bytes=0)


async def test_an_answer_without_end_is_given_up_at_the_limit(client: Outbound, serve: Serve) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    peer = await serve(pouring(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk))
    assert "more than 262144 bytes" in await failure(client, peer)
    await peer.left.wait()


async def test_headers_without_end_are_given_up(client: Outbound, serve: Serve) -> None:
    peer = await serve(pouring(b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"x" * 4096 + b"\r\n"))
    assert "gave no valid answer" in await failure(client, peer)
    await peer.left.wait()


@pytest.mark.parametrize("coding", ["gzip", "GZip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_answer_is_refused_so_that_it_cannot_grow(
    client: Outbound, serve: Serve, coding: str
) -> None:
    peer = await serve(answer(gzip.compress(b"x" * 100_000), f"Content-Encoding: {coding}"))
    assert "content coding" in await failure(client, peer)


async def test_an_answer_that_says_it_is_not_compressed_is_read(client: Outbound, serve: Serve) -> None:
    assert (await get(client, await serve(answer(b"{}", "Content-Encoding: Identity")))).body == b"{}"


# ── Time ────────────────────────────────────────────────────────────────────────────────────────────────────────────
# That the connection ends, too, is what `serve` waits for; over plain http, as a handshake takes time of its own.
def stalling(said: bytes) -> Handler:
    """A handler that says so much, and then nothing any more."""

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        await reader.read()

    return stall


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="before it answers"),
        pytest.param(b"HTTP/1.1 20", id="in the status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="in the headers"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n", id="after an interim answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", id="in the body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", id="between chunks"),
    ],
)
async def test_a_server_that_stalls_is_left_when_the_time_is_up(hasty: Outbound, serve: Serve, said: bytes) -> None:
    peer = await serve(stalling(said), tls=None)
    assert "did not answer within 0.3 seconds" in await failure(hasty, peer, scheme="http")


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", id="interim answers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", id="chunks"),
    ],
)
async def test_a_server_that_never_stops_talking_is_left_when_the_time_is_up(
    hasty: Outbound, serve: Serve, start: bytes, drip: bytes
) -> None:
    """Every single read is quick: the time is that of the whole request."""
    peer = await serve(pouring(start, drip), tls=None)
    assert "did not answer within 0.3 seconds" in await failure(hasty, peer, scheme="http", max_bytes=2**40)


async def test_a_server_that_does_not_begin_the_handshake_is_left_when_the_time_is_up(
    hasty: Outbound, serve: Serve
) -> None:
    peer = await serve(tls=None)
    assert "did not answer within 0.3 seconds" in await failure(hasty, peer)


async def test_a_name_server_that_stalls_is_left_when_the_time_is_up() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(OutboundError, match=r"did not answer within 0\.3 seconds"):
        await Outbound(resolve=never, timeout=SHORT).get("https://rp.example/", accept="*/*")


async def test_whoever_cancels_a_request_ends_its_connection(client: Outbound, serve: Serve) -> None:
    asked = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    peer = await serve(stall)
    request = asyncio.create_task(get(client, peer))
    await asked.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await peer.left.wait()


async def test_one_request_may_have_a_time_of_its_own(client: Outbound, hasty: Outbound, serve: Serve) -> None:
    peer = await serve(stalling(b""), tls=None)
    url = f"http://rp.example:{peer.port}/"
    with pytest.raises(OutboundError, match=r"did not answer within 0\.1 seconds"):
        await client.send("GET", url, {}, None, timeout=timedelta(seconds=0.1))
    late = await serve()
    url = f"https://rp.example:{late.port}/"
    assert (await hasty.send("GET", url, {}, None, timeout=timedelta(seconds=20))).status == 200


# ── Whether anything was sent ───────────────────────────────────────────────────────────────────────────────────────
async def posting(client: Outbound, url: str) -> OutboundError:
    with pytest.raises(OutboundError) as caught:
        await client.post_form(url, {"code": SECRET})
    return caught.value


async def test_a_refused_connection_is_told_apart_so_that_a_post_may_be_made_again(client: Outbound) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert isinstance(await posting(client, f"https://rp.example:{port}/"), Unreachable)


async def test_a_certificate_that_is_not_trusted_ends_a_post_before_anything_is_sent(
    client: Outbound, serve: Serve, other_authority: Authority
) -> None:
    peer = await serve(tls=other_authority.server("rp.example"))
    assert isinstance(await posting(client, f"https://rp.example:{peer.port}/"), Unreachable)


async def test_a_handshake_that_is_not_finished_ends_a_post_before_anything_is_sent(
    hasty: Outbound, serve: Serve
) -> None:
    silent, hanging_up = await serve(tls=None), await serve(b"no TLS here", tls=None, listens_first=False)
    assert isinstance(await posting(hasty, f"https://rp.example:{silent.port}/"), Unreachable)
    assert isinstance(await posting(hasty, f"https://rp.example:{hanging_up.port}/"), Unreachable)


async def test_a_name_that_cannot_be_resolved_ends_a_post_before_anything_is_sent() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolve in (never, unknown):
        client = Outbound(resolve=resolve, timeout=timedelta(seconds=0.05))
        assert isinstance(await posting(client, "https://rp.example/"), Unreachable)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{"], ids=["nothing", "half"])
@pytest.mark.parametrize(
    ("tls", "leaves", "seconds"), [("", True, 5), (None, True, 5), (None, False, 0.5), ("", False, 1.5)]
)
async def test_a_post_that_may_have_been_read_is_never_called_unreachable(
    client: Outbound, serve: Serve, tls: str | None, said: bytes, leaves: bool, seconds: float
) -> None:
    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        if leaves:
            writer.transport.abort()
        await reader.read()

    peer = await serve(fail, tls=tls)
    url = f"{'http' if tls is None else 'https'}://rp.example:{peer.port}/"
    with pytest.raises(OutboundError) as caught:
        await client.send("POST", url, {}, b"code", timeout=timedelta(seconds=seconds))
    assert type(caught.value) is OutboundError
    assert peer.requests, "the server has read it"


async def test_a_connection_that_is_closed_before_the_request_is_read_may_have_been_read(
    client: Outbound, serve: Serve
) -> None:
    async def abort(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    peer = await serve(abort, tls=None, listens_first=False)
    assert type(await posting(client, f"http://rp.example:{peer.port}/")) is OutboundError


async def test_an_address_that_may_not_be_reached_is_not_called_unreachable() -> None:
    assert type(await posting(Outbound(), "https://127.0.0.1/")) is Forbidden


# ── Form ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(f"{SECRET}\r\n\r\n", id="no HTTP"),
        pytest.param(f"HTTP/1.1 {SECRET}\r\n\r\n", id="no status"),
        pytest.param(f"HTTP/1.1 200 OK\r\n{SECRET}\r\n\r\n", id="no header"),
        pytest.param(f"HTTP/1.1 200 OK\r\nX: {SECRET}\0\r\n\r\n", id="a zero in a header"),
        pytest.param(f"HTTP/1.1 200 OK\r\nContent-Length: {SECRET}\r\n\r\n", id="a length that is no number"),
        pytest.param("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="two lengths"),
        pytest.param("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="an unknown transfer coding"),
        pytest.param("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", id="a chunk without a length"),
        pytest.param("HTTP/2 200\r\n\r\n", id="another version"),
        pytest.param("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", id="an upgrade"),
        pytest.param("HTTP/1.1 099 X\r\n\r\n", id="a status out of range"),
    ],
)
async def test_a_malformed_answer_is_refused_without_repeating_it(client: Outbound, serve: Serve, said: str) -> None:
    peer = await serve(said.encode())
    message = await failure(client, peer)
    assert message.startswith(f"https://rp.example:{peer.port} ")
    assert SECRET not in message
    await peer.left.wait()


@pytest.mark.parametrize(
    "said",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"],
    ids=["nothing", "half the headers", "half the body"],
)
async def test_an_answer_that_breaks_off_is_refused(client: Outbound, serve: Serve, said: bytes) -> None:
    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    assert "gave no valid answer" in await failure(client, await serve(leave))


async def test_a_failure_tells_the_origin_and_nothing_else_of_the_url(client: Outbound, serve: Serve) -> None:
    peer = await serve(b"?\r\n\r\n")
    assert SECRET not in await failure(client, peer, f"/{SECRET}?{SECRET}#{SECRET}")
    for url in (f"https://{SECRET}@rp.example/", f"https://rp.example:{SECRET}/", f"{SECRET}://rp.example/"):
        with pytest.raises(OutboundError) as caught:
            await client.get(url, accept="*/*")
        assert SECRET not in str(caught.value)


# ── Several addresses ───────────────────────────────────────────────────────────────────────────────────────────────
async def test_when_one_address_does_not_answer_the_next_is_tried(
    internet: Internet, serve: Serve, authority: Authority
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [OTHER_PUBLIC, PUBLIC]

    internet.routes[PUBLIC] = await serve()
    client = Outbound(ca_file=authority.ca_file, resolve=resolve)
    assert (await client.get("https://rp.example/", accept="*/*")).status == 200
    assert internet.dialled == [(OTHER_PUBLIC, 443), (PUBLIC, 443)]


async def test_one_address_that_keeps_silent_leaves_time_for_the_next(
    serve: Serve, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["::1", "127.0.0.1"]

    connect = asyncio.get_running_loop().create_connection

    async def silent(factory: object, host: str, *args: object, **options: object) -> object:
        if host == "::1":
            await asyncio.Event().wait()
        return await connect(factory, host, *args, **options)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", silent)
    peer = await serve()
    allow = [AllowRule.parse("::1"), *LOOPBACK]
    client = Outbound(allow=allow, ca_file=authority.ca_file, resolve=resolve, timeout=timedelta(seconds=1))
    assert (await get(client, peer)).status == 200


async def test_where_no_address_answers_that_is_told(client: Outbound) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OutboundError, match=f"^https://rp.example:{port} cannot be reached: "):
        await client.get(f"https://rp.example:{port}/", accept="*/*")


# ── The system's names ──────────────────────────────────────────────────────────────────────────────────────────────
async def test_names_are_those_that_the_system_knows(serve: Serve, authority: Authority) -> None:
    peer = await serve()
    client = Outbound(allow=[AllowRule.parse(f"localhost:{peer.port}")], ca_file=authority.ca_file)
    assert (await client.get(f"https://localhost:{peer.port}/", accept="*/*")).status == 200
    await client.close()


async def test_a_name_that_the_system_does_not_know_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    client = Outbound()
    with pytest.raises(OutboundError, match=r"^https://rp\.example cannot be resolved: Name or service not known$"):
        await client.get("https://rp.example/", accept="*/*")
    await client.close()


async def test_a_slow_name_server_does_not_hold_up_the_loop_and_closing_ends_the_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_answer = threading.Event()

    def slow(*_: object, **__: object) -> object:
        assert may_answer.wait(60)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    client = Outbound(timeout=SHORT)
    with pytest.raises(OutboundError, match="did not answer"):
        await client.get("https://rp.example/", accept="*/*")
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("resolver")]
    assert threads
    # Nobody waits again for what nobody got.
    with pytest.raises(OutboundError, match=r"rp\.example cannot be resolved: its name server does not answer$"):
        await client.get("https://rp.example/", accept="*/*")
    await client.close()
    may_answer.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
