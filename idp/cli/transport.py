"""Connections: answers leave in one piece, and requests that do not arrive are given up.

uvicorn writes head and body one by one, and each write costs a call to the system.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from idp.observe.logs import get_logger

_log = get_logger(__name__)
REQUEST_SECONDS = 30


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
    """uvicorn's HTTP protocol over such a transport, with a time by which a request must have arrived.

    uvicorn itself closes idle connections only between requests: half a request would be waited for forever.
    """

    _incomplete = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a new connection, whose first request is awaited from now on."""
        joined: Any = JoinedWrites(transport, self.loop)
        super().connection_made(joined)
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._incomplete = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that a request is there as a whole."""
        self._incomplete = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take data; when they end in the middle of a request, the rest has its time."""
        super().data_received(data)
        if not self._incomplete:
            self._forget_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a connection."""
        self._forget_deadline()
        super().connection_lost(exc)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        _log.info("request.incomplete", address=self.client[0] if self.client else None)
        if not self.transport.is_closing():
            self.transport.close()
