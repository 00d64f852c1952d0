"""A server of documents on loopback that a test can bend, and a shelf in memory."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from idp.domain.upstream import KeptDocument
from idp.outbound.addresses import AllowRule
from idp.outbound.client import Outbound


def said(body: bytes, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", *fields, f"Content-Length: {length}", "", ""]
    return "\r\n".join(head).encode() + body


@dataclass
class Site:
    """What each path says, once the gate is open; a path without an answer hangs up. Requests are counted."""

    answers: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    conversations: set[asyncio.Task[None]] = field(default_factory=set)

    def uri(self, path: str = "/jwks") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def publish(self, document: object, *fields: str, path: str = "/jwks", status: str = "200 OK") -> None:
        self.answers[path] = said(json.dumps(document).encode(), *fields, status=status)

    def fail(self, path: str = "/jwks") -> None:
        self.answers.pop(path, None)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.conversations.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            self.asked[path] += 1
            await self.gate.wait()
            if path in self.answers:
                writer.write(self.answers[path])
                await writer.drain()
                await reader.read()
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    site.gate.set()
    server = await asyncio.start_server(site, "127.0.0.1", 0)
    site.port = server.sockets[0].getsockname()[1]
    yield site
    server.close()
    site.gate.set()
    async with asyncio.timeout(30):
        await asyncio.gather(*site.conversations)


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound(allow=[AllowRule.parse("127.0.0.1")], timeout=timedelta(seconds=5))
    yield outbound
    await outbound.close()


@dataclass
class MemoryShelf:
    """Documents by URI; while it is away, every call fails."""

    kept: dict[str, KeptDocument] = field(default_factory=dict)
    away: Exception | None = None
    calls: list[str] = field(default_factory=list)

    async def load(self, uri: str) -> KeptDocument | None:
        self.calls.append("load")
        if self.away:
            raise self.away
        return self.kept.get(uri)

    async def save(self, kept: KeptDocument) -> None:
        self.calls.append("save")
        if self.away:
            raise self.away
        self.kept[kept.uri] = kept


@pytest.fixture
def shelf() -> MemoryShelf:
    return MemoryShelf()
