"""Many concurrent point reads become one query.

SQLAlchemy's cost is per call, not per row. A read joins only a batch that was not sent yet, so it never sees a state
older than itself; it has no place inside a write.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from idp.store.columns import storable
from idp.store.errors import StoreError

V = TypeVar("V")


class Coalesce(Generic[V]):
    """Reads values by key through `fetch`, which gets all keys that came together.

    At most `in_flight` queries run at a time; what arrives meanwhile gathers for the next one.
    """

    def __init__(self, fetch: Callable[[Sequence[str]], Awaitable[Mapping[str, V]]], *, in_flight: int = 2) -> None:
        self._fetch = fetch
        self._free = in_flight
        self._waiting: dict[str, list[asyncio.Future[V | None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def find(self, key: str) -> V | None:
        """Return the value under `key` as it was stored when this was called, or newer; None when there is none."""
        if not storable(key):
            # One such key would fail the query of all who travel with it.
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[V | None] = loop.create_future()
        self._waiting.setdefault(key, []).append(answer)
        if self._free and not self._scheduled:
            # One turn of the loop later, so that all requests that are ready now travel together.
            self._scheduled = True
            loop.call_soon(self._send)
        return await answer

    async def close(self) -> None:
        """Return when all queries are answered: a connection in use cannot be closed."""
        while self._tasks or self._scheduled:
            await (asyncio.wait(self._tasks) if self._tasks else asyncio.sleep(0))

    def _send(self) -> None:
        self._scheduled = False
        if not self._waiting or not self._free:
            return
        batch, self._waiting = self._waiting, {}
        self._free -= 1
        task = asyncio.get_running_loop().create_task(self._answer(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, batch: dict[str, list[asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._fetch(tuple(batch))
        except BaseException as error:
            for answers in batch.values():
                for answer in answers:
                    if not answer.done():
                        # Each waiter gets an exception of its own: a shared one would grow a shared traceback.
                        answer.set_exception(_copy(error))
            if not isinstance(error, Exception):
                raise
        else:
            for key, answers in batch.items():
                for answer in answers:
                    if not answer.done():
                        answer.set_result(found.get(key))
        finally:
            self._free += 1
            self._send()


def _copy(error: BaseException) -> BaseException:
    if not isinstance(error, StoreError):
        # Not every exception can be made anew from its arguments.
        return error
    copy = type(error)(*error.args)
    copy.__cause__ = error
    return copy
