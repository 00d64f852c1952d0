"""Asking the system for the addresses of a name, which may wait longer for its name servers than we do (RFC 1035 §7).

Such a question cannot be called off: it keeps its thread until the system gives up. So the threads are our own, a name
is asked for once at a time however many wait for it, and once all have given up, nobody waits for it until it ended.
"""

import asyncio
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

# Started as they are needed. That many names which do not answer at the same time hold up the others.
_THREADS = 32


@dataclass(slots=True)
class _Lookup:
    """One question, and how many wait for its answer."""

    question: Future[Any]
    answer: asyncio.Future[Any] = field(init=False)
    waiting: int = 0

    def __post_init__(self) -> None:
        self.answer = asyncio.wrap_future(self.question)


class SystemResolver:
    """Asks as `socket.getaddrinfo` does, once at a time for each name."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")
        self._lookups: dict[str, _Lookup] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host.

        Raises:
            socket.gaierror: there are none, or the system still waits for an answer that others gave up.
        """
        self._lookups = {name: lookup for name, lookup in self._lookups.items() if not lookup.question.done()}
        lookup = self._lookups.get(host)
        if lookup is None:
            ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            lookup = self._lookups[host] = _Lookup(self._threads.submit(ask))
        elif not lookup.waiting:
            raise socket.gaierror(socket.EAI_AGAIN, "its name server does not answer")
        lookup.waiting += 1
        try:
            # Unlike awaiting the answer itself, this leaves it to the others when one of them gives up.
            await asyncio.wait({lookup.answer})
        finally:
            lookup.waiting -= 1
            if not lookup.waiting:
                # Of no effect on one that was given, nor on a question that has its thread.
                lookup.answer.cancel()
        return [str(sockaddr[0]) for *_, sockaddr in lookup.answer.result()]

    def close(self) -> None:
        """Drop the names that wait for a thread, and end the threads; nothing can be asked any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
