"""Answers leave in one piece: uvicorn writes head and body one by one, and each write costs a call to the system."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class JoinedWrites:
    """A transport that joins what is written within one turn of the event loop; all else is the inner one's."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop
        self._pending: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Write at the end of this turn, after whatever else is written until then."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def close(self) -> None:
        """Close after everything is written."""
        self._flush()
        self._inner.close()

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending:
            self._inner.write(b"".join(pending))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol over such a transport."""

    def connection_made(self, transport: Any) -> None:
        """Take a new connection."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # it is one in all but name
