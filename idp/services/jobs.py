"""Work beside requests: sweeping and scheduled key rotation, safe to run on every node at once."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from inspect import isawaitable

from idp.observe.logs import get_logger
from idp.store.errors import Unavailable

_log = get_logger(__name__)


class Jobs:
    """Runs each job again and again; a failure is logged and tried again at the next turn."""

    def __init__(self, jobs: dict[str, tuple[timedelta, Callable[[], Awaitable[object] | object]]]) -> None:
        self._jobs = jobs
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all jobs."""
        self._tasks = [asyncio.create_task(self._repeat(name, *job)) for name, job in self._jobs.items()]

    async def stop(self) -> None:
        """Stop all jobs and wait until they have."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _repeat(self, name: str, interval: timedelta, job: Callable[[], Awaitable[object] | object]) -> None:
        while True:
            await asyncio.sleep(interval.total_seconds())
            try:
                result = job()
                if isawaitable(result):
                    await result
            except Unavailable as error:
                # The database restarts, say: nothing that a traceback would explain.
                _log.warning("unavailable", job=name, reason=str(error))
            except Exception:
                _log.exception("job.failed", job=name)
