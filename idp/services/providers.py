"""The providers through which people sign in here: Google from the settings, others from the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from idp.crypto.envelope import seal, unseal
from idp.domain.clock import Clock
from idp.domain.lab import ManagedBy
from idp.domain.provider import Provider, ProviderKind
from idp.domain.upstream import KeptDocument
from idp.outbound.client import Outbound
from idp.services.installation import DataKeys
from idp.store.store import Store
from idp.upstream.circuit import Circuit
from idp.upstream.documents import Documents

if TYPE_CHECKING:
    from idp.upstream.connector import Connector

GOOGLE = "google"
# As old as client settings may be.
CACHE_AGE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleSettings:
    """What the settings say of Google."""

    client_id: str
    client_secret: str = field(repr=False)
    issuer: str
    hosted_domains: tuple[str, ...] = ()
    api_scope: str = ""
    api_clients: tuple[str, ...] = ()
    one_tap: bool = False

    def provider(self, now: datetime) -> Provider:
        """Return the provider `google`, which no row and no file can change."""
        return Provider(
            name=GOOGLE,
            kind=ProviderKind.GOOGLE,
            display_name="Google",
            issuer=self.issuer,
            client_id=self.client_id,
            hosted_domains=self.hosted_domains,
            api_scope=self.api_scope,
            api_clients=self.api_clients,
            managed_by=ManagedBy.SETTINGS,
            created_at=now,
            updated_at=now,
        )


class Shelf:
    """Keeps what was fetched from providers in the store, so that a restart does without them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(self, uri: str) -> KeptDocument | None:
        """Return what was fetched last."""
        async with self._store.read() as tx:
            return await tx.kept_documents.find(uri)

    async def save(self, kept: KeptDocument) -> None:
        """Keep what was fetched now."""
        async with self._store.write() as tx:
            await tx.kept_documents.delete(kept.uri)
            await tx.kept_documents.add(kept)


class Providers:
    """Finds providers, cached together for a few seconds in this process, and speaks with them."""

    def __init__(
        self,
        store: Store,
        keys: DataKeys,
        outbound: Outbound,
        clock: Clock,
        *,
        issuer: str,
        google: GoogleSettings | None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._outbound = outbound
        self._clock = clock
        self._issuer = issuer
        self._google = google
        self._documents = Documents(outbound, Shelf(store), clock)
        self.circuit = Circuit()
        self._cache: tuple[datetime, tuple[Provider, ...]] | None = None
        self._with_rules: frozenset[str] = frozenset()

    @property
    def one_tap(self) -> bool:
        """Whether the sign-in page offers Google's own script."""
        return self._google is not None and self._google.one_tap

    async def all(self) -> tuple[Provider, ...]:
        """Return every provider, Google first, then by what people call them; at most five seconds old."""
        now = self._clock()
        if self._cache is None or now - self._cache[0] >= CACHE_AGE:
            async with self._store.read() as tx:
                rows: Sequence[Provider] = await tx.providers.all()
                self._with_rules = frozenset(rule.provider for rule in await tx.lab_rules.all())
            google = () if self._google is None else (self._google.provider(now),)
            others = sorted(rows, key=lambda provider: (provider.display_name.casefold(), provider.name))
            self._cache = (now, (*google, *others))
        return self._cache[1]

    async def shown(self) -> tuple[Provider, ...]:
        """Return those through which people may sign in."""
        return tuple(provider for provider in await self.all() if provider.active)

    async def issuers(self) -> Mapping[str, str]:
        """Return the issuer of every provider by the provider's name, in use or not."""
        return {provider.name: provider.issuer for provider in await self.all()}

    async def has_rules(self, provider: Provider) -> bool:
        """Whether a lab has a rule about what the provider tells, as far as is known for five seconds at most."""
        await self.all()
        return provider.name in self._with_rules

    async def find(self, name: str) -> Provider | None:
        """Return a provider through which people may sign in."""
        return next((provider for provider in await self.shown() if provider.name == name), None)

    def forget(self) -> None:
        """Read them anew: one was changed here."""
        self._cache = None

    def connector(self, provider: Provider) -> "Connector":
        """Return what speaks with a provider."""
        # Loaded with the first sign-in that needs it: the HTTP library, and Authlib over it, are slow to load.
        from idp.upstream.connectors import connect

        return connect(provider, self._secret(provider), self._outbound, self._documents, self.circuit, self._clock)

    async def close(self) -> None:
        """Wait for what is being fetched."""
        await self._documents.close()

    def redirect_uri(self, provider: Provider) -> str:
        """Return where the provider sends people back to; each has an address of its own (RFC 9700 §4.4.2.2)."""
        return f"{self._issuer}/login/{provider.name}/callback"

    def _secret(self, provider: Provider) -> str | None:
        if provider.managed_by is ManagedBy.SETTINGS:
            return None if self._google is None else self._google.client_secret
        return unseal_secret(self._keys, provider)


def seal_secret(keys: DataKeys, name: str, secret: str) -> bytes:
    """Return a provider's client secret as it is stored."""
    return seal(keys.seal, secret.encode(), associated=_place(name))


def unseal_secret(keys: DataKeys, provider: Provider) -> str | None:
    """Return a provider's client secret."""
    if provider.sealed_secret is None:
        return None
    return unseal(keys.seal, provider.sealed_secret, associated=_place(provider.name)).decode()


def _place(name: str) -> str:
    return f"provider:{name}"
