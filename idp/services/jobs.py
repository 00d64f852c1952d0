"""Work beside requests: sweeping and scheduled key rotation, safe to run on every node at once."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import timedelta
from inspect import isawaitable
from typing import Any, TypeVar

from idp.observe.logs import get_logger
from idp.store.errors import Unavailable

_log = get_logger(__name__)
_T = TypeVar("_T")

# How long to wait before each turn, or what to wait for.
Pause = timedelta | Callable[[], Awaitable[object]]


# Longer than a statement takes that is not waiting for a lock.
PATIENCE = timedelta(seconds=5)


async def to_the_end(work: Coroutine[Any, Any, _T], *, patience: timedelta = PATIENCE) -> _T:
    """Await work that is finished even when its caller is cancelled meanwhile, unless it takes longer than `patience`.

    A statement that is given up in the middle costs its connection, and leaves open whether it was carried out.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if (await asyncio.wait({task}, timeout=patience.total_seconds()))[1]:
            task.cancel()
            await asyncio.wait({task})
        raise


class Jobs:
    """Runs each job again and again; a failure is logged and tried again at the next turn.

    `patience` is how long a turn that has begun may go on when everything stops.
    """

    def __init__(
        self,
        jobs: Mapping[str, tuple[Pause, Callable[[], Awaitable[object] | object]]],
        *,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._jobs = jobs
        self._patience = patience
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all jobs."""
        self._tasks = [asyncio.create_task(self._repeat(name, *job)) for name, job in self._jobs.items()]

    async def stop(self) -> None:
        """Stop all jobs and wait until those that have begun are done."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _repeat(self, name: str, pause: Pause, job: Callable[[], Awaitable[object] | object]) -> None:
        while True:
            await (asyncio.sleep(pause.total_seconds()) if isinstance(pause, timedelta) else pause())
            await to_the_end(self._turn(name, job), patience=self._patience)

    async def _turn(self, name: str, job: Callable[[], Awaitable[object] | object]) -> None:
        try:
            result = job()
            if isawaitable(result):
                await result
        except Unavailable as error:
            # The database restarts, say: nothing that a traceback would explain.
            _log.warning("unavailable", job=name, reason=str(error))
        except Exception:
            _log.exception("job.failed", job=name)
