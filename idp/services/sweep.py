"""Deleting what has expired, in small bounded batches."""

from datetime import timedelta

from idp.domain.clock import Clock
from idp.store.store import Store

# Expired rows still explain replays and incidents for a while.
KEPT_AFTER_EXPIRY = timedelta(days=7)
BATCH = 1000


class Sweep:
    """Deletes expired interactions, codes, tokens, grants and sessions."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> int:
        """Delete until nothing is left and return how many rows that were."""
        total = 0
        while True:
            async with self._store.write() as tx:
                now = self._clock()
                deleted = await tx.delete_expired(now=now, before=now - KEPT_AFTER_EXPIRY, limit=BATCH)
            total += deleted
            if not deleted:
                return total
