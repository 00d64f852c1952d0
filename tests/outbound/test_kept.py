"""Connections that are kept for a moment, for answers that prove to which request they belong."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from idp.outbound import kept
from idp.outbound.addresses import AllowRule
from idp.outbound.client import Fetched, Forbidden, Outbound, OutboundError
from tests.outbound.conftest import OK, Authority, Serve

CLOSING = OK.replace(b"Content-Length", b"Connection: close\r\nContent-Length")


class Answering:
    """Answers every request on a connection, and counts the connections."""

    def __init__(self, answer: bytes = OK) -> None:
        self.answer = answer
        self.connections = 0
        self.requests = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            writer.write(self.answer)
            await writer.drain()


class Names:
    """A name server whose answer can be changed."""

    def __init__(self) -> None:
        self.address = "127.0.0.1"
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return [self.address]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
async def client(authority: Authority, names: Names) -> AsyncIterator[Outbound]:
    client = Outbound(allow=[AllowRule.parse("127.0.0.1")], ca_file=authority.ca_file, resolve=names)
    yield client
    await client.close()


async def ask(client: Outbound, port: int, path: str = "/") -> Fetched:
    return await client.send("GET", f"https://rp.example:{port}{path}", {}, None, keep=True)


async def test_one_after_the_other_has_the_same_connection_and_two_at_once_have_not(
    client: Outbound, serve: Serve, names: Names
) -> None:
    server = Answering()
    peer = await serve(server, listens_first=False)
    for _ in range(3):
        assert (await ask(client, peer.port)).body == b"{}"
    assert (server.connections, names.asked) == (1, 1)
    await asyncio.gather(*(ask(client, peer.port, f"/{number}") for number in range(3)))
    assert (server.connections, server.requests) == (3, 6)


async def test_what_is_not_kept_neither_uses_nor_leaves_one(client: Outbound, serve: Serve) -> None:
    server = Answering()
    peer = await serve(server, listens_first=False)
    await ask(client, peer.port)
    await client.get(f"https://rp.example:{peer.port}/", accept="*/*")
    await ask(client, peer.port)
    assert (server.connections, server.requests) == (2, 3)


async def test_another_port_of_the_same_name_has_another_connection(client: Outbound, serve: Serve) -> None:
    servers = [Answering(), Answering()]
    peers = [await serve(server, listens_first=False) for server in servers]
    for _ in range(2):
        for peer in peers:
            await ask(client, peer.port)
    assert [server.connections for server in servers] == [1, 1]


async def test_one_that_the_server_will_close_is_not_used_again_rfc9112_s9_6(client: Outbound, serve: Serve) -> None:
    server = Answering(CLOSING)
    peer = await serve(server, listens_first=False)
    await ask(client, peer.port)
    await peer.left.wait()
    await ask(client, peer.port)
    assert server.connections == 2


async def test_one_that_the_server_closed_meanwhile_is_not_used_again(client: Outbound, serve: Serve) -> None:
    closed = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.transport.abort()
        closed.set()

    peer = await serve(once, listens_first=False)
    for _ in range(3):
        assert (await ask(client, peer.port)).body == b"{}"
        await closed.wait()
        closed.clear()


async def test_one_on_which_the_server_speaks_unasked_is_not_used_again(client: Outbound, serve: Serve) -> None:
    spoke = asyncio.Event()

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        await asked.wait()
        writer.write(OK.replace(b"{}", b"[]"))
        await writer.drain()
        spoke.set()

    asked = asyncio.Event()
    peer = await serve(twice, listens_first=False)
    assert (await ask(client, peer.port)).body == b"{}"
    asked.set()
    await spoke.wait()
    asked.clear()
    task = asyncio.create_task(ask(client, peer.port))
    assert (await task).body == b"{}"
    asked.set()


async def test_one_whose_answer_was_not_taken_is_closed(client: Outbound, serve: Serve) -> None:
    server = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + b"x" * 900_000)
    peer = await serve(server, listens_first=False)
    for _ in range(2):
        with pytest.raises(OutboundError):
            await ask(client, peer.port)
    assert server.connections == 2


async def test_one_is_closed_when_nobody_used_it_for_a_moment(
    client: Outbound, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "IDLE", timedelta(milliseconds=1))
    peer = await serve(Answering(), listens_first=False)
    await ask(client, peer.port)
    await peer.left.wait()


async def test_one_that_is_old_is_not_used_again_so_that_the_address_is_checked_anew(
    client: Outbound, serve: Serve, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "AGE", timedelta())
    peer = await serve(Answering(), listens_first=False)
    await ask(client, peer.port)
    names.address = "127.0.0.2"
    with pytest.raises(Forbidden):
        await ask(client, peer.port)


async def test_closing_the_client_ends_them(client: Outbound, serve: Serve) -> None:
    peer = await serve(Answering(), listens_first=False)
    await ask(client, peer.port)
    assert not peer.left.is_set()
    await client.close()
    await peer.left.wait()


async def test_one_whose_client_is_closed_meanwhile_is_not_kept(client: Outbound, serve: Serve) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(OK)
        await writer.drain()

    peer = await serve(slowly, listens_first=False)
    task = asyncio.create_task(ask(client, peer.port))
    await asked.wait()
    await client.close()
    answer.set()
    assert (await task).body == b"{}"
    await peer.left.wait()


async def test_an_answer_too_many_is_not_there_for_the_next_once_it_was_noticed(client: Outbound, serve: Serve) -> None:
    server = Answering(OK + OK.replace(b"{}", b"[]"))
    peer = await serve(server, listens_first=False)
    assert (await ask(client, peer.port)).body == b"{}"
    assert (await ask(client, peer.port)).body == b"[]"
    client.drop_kept(f"https://rp.example:{peer.port}/token")
    assert (await ask(client, peer.port)).body == b"{}"
    assert server.connections == 2
