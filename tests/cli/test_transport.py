"""Answers leave in one piece."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from idp.cli.transport import JoinedWrites, Protocol


class Inner:
    """A transport that remembers."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return f"inner {name}"


@pytest.fixture
async def joined() -> JoinedWrites:
    inner: Any = Inner()
    return JoinedWrites(inner, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_leaves_together_and_in_order(joined: JoinedWrites):
    for data in (b"head", b"body", b"!"):
        joined.write(data)
    assert joined._inner.written == []
    await asyncio.sleep(0)
    joined.write(b"next")
    await asyncio.sleep(0)
    assert joined._inner.written == [b"headbody!", b"next"]


async def test_closing_writes_what_waits_first_and_nothing_twice(joined: JoinedWrites):
    joined.write(b"last")
    joined.close()
    await asyncio.sleep(0)
    assert (joined._inner.written, joined._inner.closed) == ([b"last"], True)


async def test_everything_else_is_the_inner_transports(joined: JoinedWrites):
    assert joined.get_extra_info("peername") == "inner peername"


# ── On a real connection ────────────────────────────────────────────────────────────────────────────────────────────
async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, in a head and two pieces."""
    path = scope["path"].encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (2 * len(path)))]}
    )
    await send({"type": "http.response.body", "body": path, "more_body": True})
    await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": path})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(echo, port=0, http=Protocol, lifespan="off", log_config=None)
    config.load()
    loop = asyncio.get_running_loop()
    state = uvicorn.Server(config).server_state
    server = await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
        b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\nGET /half",
    ],
    ids=["nothing", "half a line", "half a head", "half a body", "one and a half"],
)
async def test_a_request_that_does_not_arrive_is_given_up(port: int, sent: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("idp.cli.transport.REQUEST_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.endswith(b"/whole/whole" if b"whole" in sent else b"")


async def test_a_request_in_pieces_is_answered_and_the_connection_stays(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        for piece in (b"GET /slow HT", b"TP/1.1\r\nHo", b"st: x\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        assert (await asyncio.wait_for(reader.readuntil(b"/slow/slow"), 10)).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_order_and_the_last_closes(port: int):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(20):
        writer.write(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
    writer.write(b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [*(b"/%d/%d" % (number, number) for number in range(20)), b"/end/end"]
