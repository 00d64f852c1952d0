"""Connections that stay open for the next request, for a moment."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from idp.outbound.exchange import Connection, Target

Place = tuple[str, str, int]

# Servers close what is idle after five seconds or more, and a request must not cross that on its way.
IDLE = timedelta(seconds=2)
# After that the name is resolved and the address checked again.
AGE = timedelta(minutes=1)
_MOST = 32


class KeptConnections:
    """Connections by scheme, host and port; each is in use by one request or lies here, and never both."""

    def __init__(self) -> None:
        self._idle: dict[Place, dict[Connection, asyncio.TimerHandle]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def take(self, target: "Target") -> "Connection | None":
        """Return the connection that was used last, if one can still be used."""
        idle = self._idle.get(_place(target), {})
        while idle:
            connection = self._pop(idle)
            if connection.is_idle:
                return connection
            self._close(connection)
        return None

    def give(self, target: "Target", connection: "Connection") -> None:
        """Keep a connection whose answer was read, or close it."""
        loop, idle = asyncio.get_running_loop(), self._idle.setdefault(_place(target), {})
        is_young = loop.time() < connection.opened_at + AGE.total_seconds()
        if connection.is_idle and is_young and len(idle) < _MOST and not self._closed:
            idle[connection] = loop.call_later(IDLE.total_seconds(), self._expire, idle, connection)
        else:
            self._close(connection)

    def drop(self, target: "Target") -> None:
        """Close those of a place: an answer there was not that of its request."""
        idle = self._idle.pop(_place(target), {})
        while idle:
            self._close(self._pop(idle))

    async def close(self) -> None:
        """Close all that lie here; none is kept any more."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                self._close(self._pop(idle))
        while self._closing:
            await asyncio.wait(self._closing)

    def _pop(self, idle: "dict[Connection, asyncio.TimerHandle]") -> "Connection":
        connection, timer = idle.popitem()
        timer.cancel()
        return connection

    def _expire(self, idle: "dict[Connection, asyncio.TimerHandle]", connection: "Connection") -> None:
        del idle[connection]
        self._close(connection)

    def _close(self, connection: "Connection") -> None:
        task = asyncio.get_running_loop().create_task(connection.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _place(target: "Target") -> Place:
    return target.scheme, target.host, target.port
