"""Connections that stay open for the next request, for a moment."""

import asyncio
from collections import defaultdict
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
        self._idle: defaultdict[Place, dict[Connection, asyncio.TimerHandle]] = defaultdict(dict)
        self._until: dict[Connection, float] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, target: "Target") -> "Connection | None":
        """Return the connection that was used last, if one can still be used."""
        idle = self._idle[_place(target)]
        while idle:
            connection, timer = idle.popitem()
            timer.cancel()
            if connection.is_idle:
                return connection
            self._close(connection)
        return None

    def give(self, target: "Target", connection: "Connection") -> None:
        """Keep a connection whose answer was read, or close it."""
        loop, idle = asyncio.get_running_loop(), self._idle[_place(target)]
        until = self._until.setdefault(connection, loop.time() + AGE.total_seconds())
        if connection.is_idle and loop.time() < until and len(idle) < _MOST:
            idle[connection] = loop.call_later(IDLE.total_seconds(), self._expire, target, connection)
        else:
            self._close(connection)

    async def close(self) -> None:
        """Close all that lie here."""
        for idle in self._idle.values():
            while idle:
                connection, timer = idle.popitem()
                timer.cancel()
                self._close(connection)
        while self._closing:
            await asyncio.wait(self._closing)

    def _expire(self, target: "Target", connection: "Connection") -> None:
        del self._idle[_place(target)][connection]
        self._close(connection)

    def _close(self, connection: "Connection") -> None:
        self._until.pop(connection, None)
        task = asyncio.get_running_loop().create_task(connection.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _place(target: "Target") -> Place:
    return target.scheme, target.host, target.port
