"""Protected resources: the APIs that access tokens are issued for (RFC 8707)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from idp.domain.clock import Clock
from idp.domain.lab import ManagedBy
from idp.domain.lab_scope import LAB_API_SCOPES, is_about_labs
from idp.domain.resource import Resource
from idp.protocol.redirect_uri import is_safe_uri_text
from idp.protocol.scope import USER_SCOPES, is_scope_token
from idp.services.client_fields import Credential, Once
from idp.services.input import Input, Text, longest
from idp.store.store import Store

# As old as client settings may be.
CACHE_AGE = timedelta(seconds=5)


def _check_audience(uri: str) -> str:
    # RFC 8707 §2; RFC 3986 §4.3 for "absolute".
    try:
        absolute = urlsplit(uri).scheme != ""
    except ValueError:
        absolute = False
    if not absolute or not is_safe_uri_text(uri) or "#" in uri:
        raise ValueError("it must be an absolute URI without a fragment, such as https://api.example.org (RFC 8707 §2)")
    return uri


def _check_scope(name: str) -> str:
    if not is_scope_token(name):
        raise ValueError("it must be one scope, without spaces, quotes and backslashes")
    if name in USER_SCOPES or is_about_labs(name):
        raise ValueError("it speaks about people or their labs, and belongs to no API")
    if name in LAB_API_SCOPES:
        raise ValueError("it is for this server's own API")
    return name


def _check_some(scopes: tuple[str, ...]) -> tuple[str, ...]:
    if not scopes:
        raise ValueError("it is empty")
    return scopes


class ResourceInput(Input):
    """An API as it is written down."""

    audience: Annotated[str, AfterValidator(_check_audience)]
    name: Text
    scopes: Annotated[tuple[Annotated[str, AfterValidator(_check_scope)], ...], AfterValidator(_check_some), Once]
    client_id: Annotated[Credential, longest(2048)] | None = None

    def resource(self, present: Resource | None, *, now: datetime, managed_by: ManagedBy = ManagedBy.ADMIN) -> Resource:
        """Return the API: a new one, or `present` as it is written down here; what is absent is at its default."""
        base = present or Resource(
            audience=self.audience, name=self.name, scopes=self.scopes, created_at=now, managed_by=managed_by
        )
        return replace(base, **dict(self))


class Resources:
    """Registered APIs, cached together for a few seconds in this process: they are few and change rarely."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._cache: tuple[datetime, Mapping[str, Resource]] | None = None

    async def find_all(self, audiences: Iterable[str]) -> Mapping[str, Resource]:
        """Return the APIs among the audiences, which are compared exactly, at most five seconds old."""
        asked = tuple(audiences)
        known = await self._all() if asked else {}
        return {audience: known[audience] for audience in asked if audience in known}

    async def _all(self) -> Mapping[str, Resource]:
        now = self._clock()
        if self._cache is None or now - self._cache[0] >= CACHE_AGE:
            async with self._store.read() as tx:
                self._cache = (now, {resource.audience: resource for resource in await tx.resources.all()})
        return self._cache[1]
