"""Finding clients, and their secrets."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from idp.crypto.envelope import seal, unseal
from idp.crypto.opaque import mac, mint_token
from idp.domain.audit import AuditAction
from idp.domain.client import Client, ClientAuthMethod, ClientSecret
from idp.domain.clock import Clock
from idp.services.audit import audit_event
from idp.services.installation import DataKeys
from idp.store.store import Store

# Client settings may be this old; everything about users and tokens is read live.
CACHE_AGE = timedelta(seconds=5)
_CACHE_SIZE = 10_000


class Clients:
    """Clients, cached for a few seconds in this process and dropped on writes."""

    def __init__(self, store: Store, keys: DataKeys, clock: Clock) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._cache: dict[str, tuple[datetime, Client]] = {}
        self._origins: tuple[datetime, frozenset[str]] | None = None

    async def find(self, client_id: str) -> Client | None:
        """Return a client that is served, at most five seconds old; None when there is none or it is disabled."""
        now = self._clock()
        held = self._cache.get(client_id)
        if held is not None and now - held[0] < CACHE_AGE:
            client: Client | None = held[1]
        else:
            # No id is longer, and PostgreSQL refuses NUL.
            known = len(client_id) <= 2048 and "\x00" not in client_id
            client = await self._store.find_client(client_id) if known else None
            self._remember(client_id, client, now)
        return client if client is not None and client.active else None

    async def knows_origin(self, origin: str) -> bool:
        """Whether a client that is served has this origin, at most five seconds late."""
        now = self._clock()
        if self._origins is None or now - self._origins[0] >= CACHE_AGE:
            async with self._store.read() as tx:
                active = (client for client in await tx.clients.all() if client.active)
            self._origins = now, frozenset().union(*(client.origins for client in active))
        return origin in self._origins[1]

    def _remember(self, client_id: str, client: Client | None, now: datetime) -> None:
        if client is None:
            self._cache.pop(client_id, None)
            return
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        self._cache[client_id] = (now, client)

    def forget(self, client_id: str) -> None:
        """Drop a client from this process's cache."""
        self._cache.pop(client_id, None)
        self._origins = None

    async def rotate_secret(self, client_id: str, *, overlap: timedelta, actor: str) -> str:
        """Give the client a new secret and return it; the old ones are accepted for `overlap` longer.

        Raises:
            NotFound: there is no such client.
        """
        async with self._store.write() as tx:
            client = await tx.clients.lock(client_id)
            secret = mint_secret(client.token_endpoint_auth_method)
            now = self._clock()
            end = now + overlap
            old = (
                replace(held, expires_at=end if held.expires_at is None else min(end, held.expires_at))
                for held in client.secrets
                if held.valid(now=now)
            )
            new = make_secret(self._keys, client_id, client.token_endpoint_auth_method, secret, now)
            await tx.clients.save(replace(client, secrets=(new, *old), updated_at=now))
            await tx.audit_events.add(
                audit_event(AuditAction.CLIENT_SECRET_ROTATED, actor=actor, target=client_id, now=now)
            )
        self.forget(client_id)
        return secret


def secret_hash(keys: DataKeys, secret: str) -> str:
    """Return how a client secret is stored."""
    return mac(keys.lookup, f"client-secret:{secret}")


def mint_secret(method: ClientAuthMethod) -> str:
    """Return a new client secret: one to make MACs with is as long as the longest hash (RFC 7518 §3.2)."""
    return mint_token() + mint_token() if method is ClientAuthMethod.CLIENT_SECRET_JWT else mint_token()


def make_secret(keys: DataKeys, client_id: str, method: ClientAuthMethod, secret: str, now: datetime) -> ClientSecret:
    """Return a secret as it is stored: hashed, and sealed too where MACs are checked with it (client_secret_jwt)."""
    sealed = None
    if method is ClientAuthMethod.CLIENT_SECRET_JWT:
        sealed = b64encode(seal(keys.seal, secret.encode(), associated=_place(client_id))).decode("ascii")
    return ClientSecret(hash=secret_hash(keys, secret), created_at=now, sealed=sealed)


def open_secret(keys: DataKeys, client_id: str, sealed: str) -> str:
    """Return the secret that `make_secret` sealed.

    Raises:
        CannotUnseal: it was altered, or is another client's.
    """
    return unseal(keys.seal, b64decode(sealed), associated=_place(client_id)).decode()


def _place(client_id: str) -> str:
    return f"client-secret:{client_id}"


def metadata_of(client: Client) -> Mapping[str, Any]:
    """Return a client's public settings by their RFC 7591 names, without secrets and without what is at its default."""
    defaults = Client(client_id="", client_name="", created_at=client.created_at, updated_at=client.updated_at)
    hidden = {"secrets", "created_at", "updated_at", "managed_by"}
    return {
        name: getattr(client, name)
        for name in Client.__dataclass_fields__
        if name not in hidden and getattr(client, name) != getattr(defaults, name)
    }
