"""Opening a store with its keys: what the server and every command begin with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from idp.crypto.password import PasswordHasher
from idp.domain.claims import EntitlementNamespace
from idp.domain.clock import Clock, system_clock
from idp.mail.console import ConsoleMailer
from idp.mail.mailer import Mailer, NoMailer
from idp.mail.server import parse_mailbox, parse_smtp_url
from idp.mail.smtp import SmtpMailer
from idp.mail.templates import MailTemplates
from idp.observe.metrics import Metrics
from idp.outbound.client import Outbound
from idp.resources import migrations_dir, templates_dir
from idp.services.breached_passwords import BreachedPasswords
from idp.services.clients import Clients
from idp.services.installation import DataKeys, KeySource, open_keys
from idp.services.mail import Outbox
from idp.services.password_policy import PasswordPolicy
from idp.services.providers import GoogleSettings, Providers
from idp.services.signing_keys import KeyTimes, SigningKeys
from idp.setting_values import OFF, mail_host
from idp.settings import Settings, is_loopback
from idp.store import migrate
from idp.store.database import Database
from idp.store.store import Store


@dataclass(frozen=True, slots=True)
class Opened:
    """A store with its keys, as commands and the server need it."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    store: Store
    keys: DataKeys
    signing_keys: SigningKeys
    clients: Clients
    hasher: PasswordHasher
    outbound: Outbound
    outbox: Outbox
    providers: Providers


@asynccontextmanager
async def open_store(settings: Settings, *, clock: Clock = system_clock, create: bool = False) -> AsyncIterator[Opened]:
    """Open the store that the settings name.

    With `create`, an empty database gets its schema and keys, and an older SQLite file is brought up to date.

    Raises:
        SchemaError, WrongKey, KeyFileError, Unavailable: it cannot be opened; the text says how to mend it.
    """
    metrics = Metrics()
    database = Database(
        settings.database_driver_url,
        pool_size=settings.database_pool_size,
        statement_timeout_seconds=settings.database_statement_timeout_seconds,
    )
    store = Store(database, on_flush=metrics.flushed)
    hasher = PasswordHasher(
        memory_kib=settings.argon2_memory_kib,
        time_cost=settings.argon2_time_cost,
        threads=settings.argon2_threads,
        queue_limit=settings.argon2_queue_limit,
    )
    outbound = Outbound(
        allow=settings.outbound_allow,
        ca_file=settings.outbound_ca_file,
        timeout=timedelta(seconds=settings.outbound_timeout_seconds),
        max_bytes=settings.outbound_max_bytes,
    )
    try:
        if create:
            await migrate.upgrade(database, migrations_dir(), now=clock())
        await migrate.require_current(database, migrations_dir())
        secret = settings.key_encryption_key
        source = KeySource(settings.keys_dir, None if secret is None else secret.get_secret_value())
        keys = await open_keys(store, source, clock, create=create)
        signing_keys = SigningKeys(store, keys, clock, _key_times(settings))
        if create:
            await signing_keys.ensure()
        metrics.track(
            commit_queue=lambda: store.commit.depth,
            password_queue=lambda: hasher.waiting,
            database_connections=lambda: database.connections_in_use,
        )
        clients = Clients(store, keys, clock)
        outbox = _outbox(settings, store, keys, clock, metrics)
        providers = Providers(store, keys, outbound, clock, issuer=settings.issuer, google=_google(settings))
        try:
            yield Opened(
                settings, clock, metrics, store, keys, signing_keys, clients, hasher, outbound, outbox, providers
            )
        finally:
            await providers.close()
    finally:
        await outbound.close()
        await store.close()
        hasher.close()


def _outbox(settings: Settings, store: Store, keys: DataKeys, clock: Clock, metrics: Metrics) -> Outbox:
    host = mail_host(settings.issuer)
    # Mails hold links that act for whoever opens them: a terminal is shown them only where nobody else can be meant.
    mailer: Mailer = ConsoleMailer() if is_loopback(settings.issuer) else NoMailer()
    if settings.smtp_url is not None:
        server = parse_smtp_url(settings.smtp_url.get_secret_value())
        mailer = SmtpMailer(server, ca_file=settings.outbound_ca_file, local_name=host)
    templates = MailTemplates(templates_dir(), service_name=settings.service_name, issuer=settings.issuer)
    sender = parse_mailbox(settings.mail_from)
    return Outbox(store, keys, mailer, templates, clock, metrics, sender=sender, host=host)


def password_policy(settings: Settings, outbound: Outbound) -> PasswordPolicy:
    """Return which passwords people may choose."""
    url = settings.breached_passwords
    return PasswordPolicy(
        min_length=settings.password_min_length,
        service_name=settings.service_name,
        breached=None if url == OFF else BreachedPasswords(outbound, url),
    )


def _google(settings: Settings) -> GoogleSettings | None:
    if settings.google_client_id is None or settings.google_client_secret is None:
        return None
    return GoogleSettings(
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret.get_secret_value(),
        issuer=settings.google_issuer,
        hosted_domains=settings.google_hosted_domain,
        api_scope=settings.google_api_scope or "",
        api_clients=settings.google_api_clients,
        one_tap=settings.google_one_tap,
    )


def _key_times(settings: Settings) -> KeyTimes:
    return KeyTimes(
        jwks_max_age=_seconds(settings.jwks_max_age_seconds),
        longest_token=_seconds(max(settings.access_token_ttl_seconds, settings.id_token_ttl_seconds)),
        rotation=timedelta(days=settings.key_rotation_days),
    )


def entitlement_namespace(settings: Settings) -> EntitlementNamespace | None:
    """Return the namespace of entitlements, and the host that vouches for them; None where they are switched off."""
    urn = settings.entitlement_namespace
    return None if urn is None else EntitlementNamespace(urn, urlsplit(settings.issuer).hostname or "")


def _seconds(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)
