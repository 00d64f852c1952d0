"""Providers' metadata and keys, kept in this process and on a shelf (OpenID Connect Discovery §4, Core §10.1.1)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from idp.domain.clock import Clock
from idp.domain.upstream import KeptDocument
from idp.observe.logs import get_logger
from idp.outbound.client import Fetched, Forbidden, Outbound, OutboundError, Unreachable

# How long a document is used before it is asked for again: as its server says, within these limits.
MIN_AGE = timedelta(minutes=1)
MAX_AGE = timedelta(days=1)
DEFAULT_AGE = timedelta(hours=1)
# And how much longer when its server does not answer.
STALE_FOR = timedelta(days=7)
# Between two attempts, and between two searches for a key: anybody can send us tokens with unknown kids.
PAUSE = timedelta(seconds=30)
MAX_BYTES = 262_144
# Longer than one request and two statements of the database take.
_PATIENCE_SECONDS = 10
_CACHE_SIZE = 100

_log = get_logger(__name__)


class DocumentUnavailable(Exception):
    """A document cannot be had; the text says why, for the log. `reached` is whether its server answered anything."""

    def __init__(self, text: str, *, reached: bool) -> None:
        super().__init__(text)
        self.reached = reached


class Shelf(Protocol):
    """Where documents outlive this process."""

    async def load(self, uri: str) -> KeptDocument | None:
        """Return what was saved last under a URI."""
        ...

    async def save(self, kept: KeptDocument) -> None:
        """Keep a document in the place of the earlier one."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    """What is known of a URI: the last copy, if there is one, and what the last attempt came to."""

    document: Mapping[str, Any] | None
    fresh_until: datetime
    asked_at: datetime
    sought_at: datetime | None = None  # when it was last asked for the sake of an unknown kid
    failure: DocumentUnavailable | None = None

    @property
    def usable_until(self) -> datetime:
        return self.fresh_until + STALE_FOR

    def needs_turn(self, now: datetime) -> bool:
        return now >= self.fresh_until and (self.failure is None or now - self.asked_at >= PAUSE)

    def may_seek(self, began: datetime) -> bool:
        """Whether a fetch could bring more to whoever began then."""
        last = self.asked_at if self.failure else self.sought_at
        return self.asked_at < began and (last is None or began - last >= PAUSE)

    def usable(self, now: datetime) -> Mapping[str, Any]:
        if self.document is not None and now < self.usable_until:
            return self.document
        raise DocumentUnavailable(str(self.failure), reached=self.failure is not None and self.failure.reached)


class Documents:
    """JSON objects by their URI; one request at a time fetches each, and a copy serves on while its server is down.

    What is returned is shared and must not be changed. It is the same object until it is fetched anew.
    """

    def __init__(self, outbound: Outbound, shelf: Shelf, clock: Clock) -> None:
        self._outbound = outbound
        self._shelf = shelf
        self._clock = clock
        self._cache: dict[str, _Held] = {}
        self._turns: dict[str, asyncio.Task[_Held]] = {}

    async def get(self, uri: str) -> Mapping[str, Any]:
        """Return a document, fetched anew when its time is over.

        Raises:
            DocumentUnavailable: it cannot be fetched, and no copy is young enough.
        """
        return (await self._current(uri)).usable(self._clock())

    async def refreshed(self, uri: str) -> Mapping[str, Any]:
        """Return a document, fetched anew because a key is not in it; within 30 seconds of the last time, as it is.

        Raises:
            DocumentUnavailable: it cannot be fetched, and no copy is young enough.
        """
        began = self._clock()
        held = await self._current(uri)
        if held.may_seek(began):
            held = await self._turn(uri, seeking=True)
        return held.usable(self._clock())

    async def close(self) -> None:
        """Wait for what is being fetched, whoever asked for it has perhaps left; not longer than a fetch may take."""
        if self._turns:
            _, late = await asyncio.wait(self._turns.values(), timeout=_PATIENCE_SECONDS)
            for turn in late:
                turn.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _current(self, uri: str) -> _Held:
        held = self._cache.get(uri)
        return await self._turn(uri) if held is None or held.needs_turn(self._clock()) else held

    async def _turn(self, uri: str, *, seeking: bool = False) -> _Held:
        task = self._turns.get(uri)
        if task is None:
            task = self._turns[uri] = asyncio.create_task(self._take_turn(uri, seeking=seeking))
            task.add_done_callback(lambda done: self._turns.pop(uri))
        # Others wait for it too: it goes on when this request is cancelled.
        return await asyncio.shield(task)

    async def _take_turn(self, uri: str, *, seeking: bool) -> _Held:
        now, old, shelf_works = self._clock(), self._cache.get(uri), True
        if old is None or old.document is None:
            shelved, shelf_works = await self._from_shelf(uri, now)
            if shelved and now < shelved.fresh_until:
                return self._keep(uri, shelved)
            old = shelved or old
        sought_at = now if seeking else old.sought_at if old else None
        try:
            fetched = await self._outbound.get(uri, accept="application/json", max_bytes=MAX_BYTES)
            body, document = _read(fetched)
        except (OutboundError, ValueError) as error:
            failure = DocumentUnavailable(f"{uri}: {error}", reached=not isinstance(error, (Forbidden, Unreachable)))
            held = replace(old or _Held(None, now, now), asked_at=now, sought_at=sought_at, failure=failure)
            return self._keep(uri, held)
        held = _Held(document, now + _age(fetched), now, sought_at)
        if shelf_works:
            await self._to_shelf(KeptDocument(uri=uri, body=body, fetched_at=now, expires_at=held.usable_until))
        return self._keep(uri, held)

    def _keep(self, uri: str, held: _Held) -> _Held:
        self._cache.pop(uri, None)
        if len(self._cache) >= _CACHE_SIZE:
            # The one that was asked for longest ago.
            del self._cache[next(iter(self._cache))]
        self._cache[uri] = held
        return held

    async def _from_shelf(self, uri: str, now: datetime) -> tuple[_Held | None, bool]:
        """Return what the shelf holds, and whether it works at all."""
        try:
            kept = await self._shelf.load(uri)
            if kept is None:
                return None, True
            # How long it is fresh is told by its end; a clock that was wrong then must not keep it for ever.
            fresh_until = min(kept.expires_at - STALE_FOR, now + MAX_AGE)
            return _Held(_parse(kept.body), fresh_until, kept.fetched_at), True
        except Exception as error:  # whatever the database is at: the provider itself can still be asked
            _log.warning("upstream.shelf_failed", uri=uri, exc_info=error)
            return None, False

    async def _to_shelf(self, kept: KeptDocument) -> None:
        try:
            await self._shelf.save(kept)
        except Exception as error:  # the same: what was fetched is of use without it
            _log.warning("upstream.shelf_failed", uri=kept.uri, exc_info=error)


def _age(fetched: Fetched) -> timedelta:
    return min(max(DEFAULT_AGE if fetched.max_age is None else fetched.max_age, MIN_AGE), MAX_AGE)


def _read(fetched: Fetched) -> tuple[str, Mapping[str, Any]]:
    if fetched.status != 200:
        raise ValueError(f"answered with status {fetched.status}")
    try:
        # Whatever its media type: many servers of static files know none for keys.
        body = fetched.body.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("answered with something that is not in UTF-8") from None
    return body, _parse(body)


def _parse(body: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("answered with something that is no JSON") from None
    if not isinstance(document, dict):
        raise ValueError("answered with JSON that is no object")
    return document
