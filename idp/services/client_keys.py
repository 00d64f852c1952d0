"""The public keys of clients, registered or fetched from their jwks_uri (RFC 7591 §2, OpenID Connect Core §10.1.1)."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.jose import InvalidSignature, Verified, read_unverified, usable_keys, verify
from idp.domain.client import Client
from idp.domain.clock import Clock
from idp.outbound.client import Fetched, Outbound, OutboundError

# How long a key set is used before it is asked for again: as its server says, within these limits.
MIN_AGE = timedelta(minutes=1)
MAX_AGE = timedelta(hours=1)
# And how much longer when its server does not answer.
STALE_FOR = timedelta(hours=1)
# Anybody can send us tokens with unknown kids; no third party gets more requests out of that than these. A fetch with
# another reason does not count, so that a key may be used as soon as it is published.
PAUSE = timedelta(seconds=30)
_CACHE_SIZE = 500
_MAX_BYTES = 65_536


class KeysUnavailable(Exception):
    """The client's keys cannot be had; the text says why, for the log."""


@dataclass(frozen=True, slots=True)
class _Held:
    asked_at: datetime
    keys: Sequence[Mapping[str, Any]]
    fresh_until: datetime
    sought_at: datetime | None  # when it was last asked for the sake of an unknown kid, or for one that was not there
    failure: str = ""

    def may_seek(self, now: datetime) -> bool:
        """Whether an unknown kid is a reason to ask again."""
        last = self.asked_at if self.failure else self.sought_at
        return self.asked_at < now and (last is None or now - last >= PAUSE)


class ClientKeys:
    """Keys by client; those behind a URI are cached in this process, and one request at a time fetches them."""

    def __init__(self, outbound: Outbound, clock: Clock) -> None:
        self._outbound = outbound
        self._clock = clock
        self._cache: dict[str, _Held] = {}
        self._asking: dict[str, asyncio.Task[_Held]] = {}

    async def all(self, client: Client) -> Sequence[Mapping[str, Any]]:
        """Return every usable key of the client.

        Raises:
            KeysUnavailable: there are none, or they cannot be fetched.
        """
        if client.jwks is not None:
            return _usable(client.jwks)
        if client.jwks_uri is None:
            raise KeysUnavailable("no keys are registered")
        return self._usable_now(await self._current(client, client.jwks_uri))

    async def for_kid(self, client: Client, kid: str | None) -> Sequence[Mapping[str, Any]]:
        """Return every usable key of the client, fetched anew when none bears this `kid`: keys are rotated that way.

        Without a `kid`, a new key is seen only when the cache ends.

        Raises:
            KeysUnavailable: there are none, or they cannot be fetched.
        """
        uri = client.jwks_uri
        if client.jwks is not None or uri is None or kid is None:
            return await self.all(client)
        held = await self._current(client, uri, kid)
        if not _bears(held.keys, kid) and held.may_seek(self._clock()):
            held = await self._ask(uri, kid, seeking=True)
        return self._usable_now(held)

    async def verify(self, client: Client, token: str, *, algorithms: Sequence[str]) -> Verified:
        """Return what the client signed; keys that did not sign it are fetched anew once, as with an unknown `kid`.

        Raises:
            KeysUnavailable: there are none, or they cannot be fetched.
            InvalidSignature: none of them signed it.
        """
        kid, began = read_unverified(token).header.get("kid"), self._clock()
        keys = await self.for_kid(client, kid if isinstance(kid, str) else None)
        try:
            return verify(token, keys, algorithms=algorithms)
        except InvalidSignature:
            # Rotated without a kid, or under the same one.
            newer = await self._sought(client, began)
            if newer is None:
                raise
        return verify(token, newer, algorithms=algorithms)

    async def _sought(self, client: Client, began: datetime) -> Sequence[Mapping[str, Any]] | None:
        """Return keys fetched anew; None where that can bring nothing, or not yet."""
        uri = client.jwks_uri
        held = None if uri is None or client.jwks is not None else self._cache.get(uri)
        if uri is None or held is None or held.asked_at >= began or not held.may_seek(self._clock()):
            return None
        return self._usable_now(await self._ask(uri, None, seeking=True))

    async def _current(self, client: Client, uri: str, kid: str | None = None) -> _Held:
        held, now = self._cache.get(uri), self._clock()
        # Who has just registered a URI has just published there: what came before then is not asked to last.
        if held is None or held.asked_at < client.updated_at <= now:
            return await self._ask(uri, kid)
        if now >= held.fresh_until and now - held.asked_at >= PAUSE:
            return await self._ask(uri, kid)
        return held

    def _usable_now(self, held: _Held) -> Sequence[Mapping[str, Any]]:
        if not held.keys or self._clock() >= held.fresh_until + STALE_FOR:
            raise KeysUnavailable(held.failure)
        return held.keys

    async def _ask(self, uri: str, kid: str | None, *, seeking: bool = False) -> _Held:
        task = self._asking.get(uri)
        if task is None:
            task = self._asking[uri] = asyncio.create_task(self._fetch(uri, kid, seeking=seeking))
            task.add_done_callback(lambda done: self._asking.pop(uri))
        # Others wait for it too: it goes on when this request is cancelled.
        return await asyncio.shield(task)

    async def _fetch(self, uri: str, kid: str | None, *, seeking: bool) -> _Held:
        now, old = self._clock(), self._cache.get(uri)
        sought_at = old.sought_at if old else None
        try:
            accept = "application/jwk-set+json, application/json"
            fetched = await self._outbound.get(uri, accept=accept, max_bytes=_MAX_BYTES)
            age = min(max(fetched.max_age or MIN_AGE, MIN_AGE), MAX_AGE)
            keys = _parse(fetched)
            if seeking or (kid is not None and not _bears(keys, kid)):
                sought_at = now
            held = _Held(now, keys, now + age, sought_at)
        except (OutboundError, KeysUnavailable) as error:
            keys, fresh_until = (old.keys, old.fresh_until) if old else ((), now)
            held = _Held(now, keys, fresh_until, sought_at, f"jwks_uri: {error}")
        self._cache.pop(uri, None)
        if len(self._cache) >= _CACHE_SIZE:
            # The one that was asked longest ago.
            del self._cache[next(iter(self._cache))]
        self._cache[uri] = held
        return held


def _bears(keys: Sequence[Mapping[str, Any]], kid: str) -> bool:
    return any(jwk.get("kid") == kid for jwk in keys)


def _parse(fetched: Fetched) -> Sequence[Mapping[str, Any]]:
    if fetched.status != 200:
        raise KeysUnavailable(f"answered with status {fetched.status}")
    try:
        # Whatever its media type: many servers of static files know none for this.
        return _usable(json.loads(fetched.body))
    except (ValueError, RecursionError):
        raise KeysUnavailable("answered with something that is no JSON") from None


def _usable(jwks: Any) -> Sequence[Mapping[str, Any]]:
    try:
        return usable_keys(jwks)
    except ValueError as error:
        raise KeysUnavailable(str(error)) from None
