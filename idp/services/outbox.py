"""The job of a durable outbox: hands over what is owed, again and again until it is taken or given up.

What is owed is committed together with its cause, so neither a crash nor a receiver that is out of reach loses it.
Every node works off the same outbox under leases; an attempt is one node's alone.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar, Generic, TypeVar

from idp.domain.audit import AuditEvent
from idp.domain.clock import Clock
from idp.domain.outbox import Owed
from idp.observe.logs import get_logger
from idp.store.errors import NotFound
from idp.store.outbox import Outbox
from idp.store.store import Store, Transaction

T = TypeVar("T", bound=Owed)

# What other nodes and the command line left here is found this soon; what this node owes is handed over at once.
_POLL_SECONDS = 5
_log = get_logger(__name__)


class NotTaken(Exception):
    """An attempt that failed, perhaps for good: `reason` is a fixed text, `detail` for the log only."""

    def __init__(self, reason: str, *, detail: str = "", for_good: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.for_good = for_good


class OutboxJob(ABC, Generic[T]):
    """Hands over what is due, a few at a time; each kind says what that means and how often it is tried.

    `delays` is how long after each failed attempt the next one follows; after the last, or when what is owed expires,
    it is given up. `lease` is longer than an attempt can take: past it, the node that took it is dead.
    """

    name: ClassVar[str]
    delays: ClassVar[Sequence[timedelta]]
    lease: ClassVar[timedelta]
    at_a_time: ClassVar[int]

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._attempts: dict[asyncio.Task[None], T] = {}
        self._due = asyncio.Event()

    @abstractmethod
    def _rows(self, tx: Transaction) -> Outbox[T]:
        """Return the outbox."""

    @abstractmethod
    async def _hand_over(self, owed: T) -> None:
        """Make one attempt.

        Raises:
            NotTaken: it failed.
        """

    @abstractmethod
    def _told(self, owed: T, outcome: str, attempts: int, error: NotTaken | None) -> None:
        """Count and log an attempt that was recorded: `delivered`, `failed` (tried again later) or `given_up`."""

    @abstractmethod
    def _given_up(self, owed: T, attempts: int, reason: str, *, now: datetime) -> AuditEvent:
        """Return what the audit log says about one that was given up."""

    def _busy(self, running: Sequence[T]) -> Sequence[str]:
        """Return the receivers that take something now."""
        return ()

    def _closed(self, owed: T) -> T:
        """Return what is left of one that will not be tried again."""
        return owed

    def wake(self) -> None:
        """Look at the outbox now: something was written into it."""
        self._due.set()

    async def due(self) -> None:
        """Wait until something may be due: the pause before each turn of the job."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._due.wait()
        self._due.clear()

    async def begin(self) -> None:
        """Begin with what is due, as far as there is room; the end of an attempt makes room for the next.

        One turn of the job.
        """
        room = self.at_a_time - len(self._attempts)
        if not room:
            return
        now, busy = self._clock(), self._busy(list(self._attempts.values()))
        async with self._store.write() as tx:
            claimed = await self._rows(tx).claim_due(now=now, until=now + self.lease, limit=room, busy=busy)
        for owed in claimed:
            task = asyncio.create_task(self._attempt(owed))
            self._attempts[task] = owed
            task.add_done_callback(self._ended)

    async def finish(self) -> None:
        """Wait for the attempts that have begun: who took something is not to get it again."""
        await asyncio.gather(*self._attempts, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._attempts[task]
        # There is room for another one, perhaps for the same receiver.
        self._due.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # It is tried again when the lease has ended.
            _log.error("job.failed", job=self.name, exc_info=error)

    async def _attempt(self, owed: T) -> None:
        try:
            await self._hand_over(owed)
        except NotTaken as error:
            await self._record(owed, error)
        else:
            await self._record(owed, None)

    async def _record(self, owed: T, error: NotTaken | None) -> None:
        now = self._clock()
        attempts = owed.attempts + 1
        next_attempt_at = None if error is None or error.for_good else self._next_attempt(owed, now=now)
        outcome = "delivered" if error is None else "given_up" if next_attempt_at is None else "failed"
        async with self._store.write() as tx:
            try:
                present = await self._rows(tx).lock(owed.id)
            except NotFound:
                return  # Deleted meanwhile, with whom or what it belonged to.
            if present.claimed_until != owed.claimed_until:
                return  # It took longer than the lease, and is another node's now.
            recorded = replace(
                present,
                attempts=attempts,
                next_attempt_at=next_attempt_at,
                claimed_until=None,
                delivered_at=now if error is None else None,
                last_error=None if error is None else error.reason,
            )
            await self._rows(tx).save(self._closed(recorded) if next_attempt_at is None else recorded)
            if error is not None and outcome == "given_up":
                await tx.audit_events.add(self._given_up(owed, attempts, error.reason, now=now))
        self._told(owed, outcome, attempts, error)

    def _next_attempt(self, owed: T, *, now: datetime) -> datetime | None:
        """Return when to try again after a failure; None to give up."""
        if owed.attempts >= len(self.delays):
            return None
        following = now + self.delays[owed.attempts]
        return following if following < owed.expires_at else None
