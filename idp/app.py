"""The composition root: settings in, ASGI application out; the one place where everything is wired."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from starlette.applications import Starlette
from starlette.types import ASGIApp

from idp.crypto.password import PasswordHasher
from idp.domain.clock import Clock, system_clock
from idp.features import FEATURES
from idp.observe.metrics import Metrics
from idp.protocol.metadata import server_metadata
from idp.resources import migrations_dir, templates_dir
from idp.services.authorization import Authorization
from idp.services.clients import Clients
from idp.services.installation import DataKeys, KeySource, open_keys
from idp.services.introspection import Introspection
from idp.services.jobs import Jobs
from idp.services.login import Login
from idp.services.logout import Logout
from idp.services.revocation import Revocation
from idp.services.sessions import Sessions, SessionTimes
from idp.services.setup import Setup
from idp.services.signing_keys import KeyTimes, SigningKeys
from idp.services.sweep import Sweep
from idp.services.token import GrantContext, GrantHandler, TokenService
from idp.services.token_issuer import TokenIssuer, TokenTimes
from idp.services.userinfo import UserInfo
from idp.settings import Settings
from idp.store import migrate
from idp.store.database import Database
from idp.store.store import Store
from idp.web.cookies import Cookies
from idp.web.direct import Direct
from idp.web.errors import EXCEPTION_HANDLERS
from idp.web.middleware.edge import Edge
from idp.web.oauth.wellknown import WellKnown
from idp.web.pages import Pages
from idp.web.services import Demo, Drain, Services


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
        yield Opened(settings, clock, metrics, store, keys, signing_keys, Clients(store, keys, clock), hasher)
    finally:
        await store.close()
        hasher.close()


def create_app(
    settings: Settings, *, clock: Clock = system_clock, demo: Demo | None = None, drain: Drain | None = None
) -> ASGIApp:
    """Return the server; its lifespan opens and closes the store. `drain` is set by whoever stops it."""
    pages = Pages(service_name=settings.service_name, templates_dir=templates_dir())
    grants = [grant for feature in FEATURES for grant in feature.grants]
    routes = [route for feature in FEATURES for route in feature.routes]
    endpoints = {member: path for feature in FEATURES for member, path in feature.metadata.items()}
    metadata = server_metadata(
        issuer=settings.issuer, endpoints=endpoints, grant_types=[str(grant.grant_type) for grant in grants]
    )
    drain = drain or Drain()

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[Mapping[str, object]]:
        async with open_store(settings, clock=clock) as opened:
            well_known.open(opened.signing_keys, opened.metrics)
            edge.open(opened.metrics)
            jobs = _jobs(opened)
            jobs.start()
            try:
                yield _services(opened, pages, drain, demo)
            finally:
                await jobs.stop()

    application = Starlette(
        routes=[*routes, *pages.static.routes()],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    # A redirect to the path without its slash would name whatever host was asked for, and carry a form along (307).
    application.router.redirect_slashes = False
    https = settings.issuer.startswith("https:")
    edge = Edge(
        Direct(application, routes),
        trusted_proxies=settings.trusted_proxies,
        https=https,
        access_log=settings.access_log,
    )
    well_known = WellKnown(edge, metadata, jwks_max_age=_seconds(settings.jwks_max_age_seconds), https=https)
    return well_known


def _services(opened: Opened, pages: Pages, drain: Drain, demo: Demo | None) -> Services:
    settings, clock, store, clients = opened.settings, opened.clock, opened.store, opened.clients
    issuer = settings.issuer
    times = _token_times(settings)
    session_times = SessionTimes(_seconds(settings.session_idle_seconds), _seconds(settings.session_ttl_seconds))
    sessions = Sessions(store, clock, session_times)
    token_issuer = TokenIssuer(store, opened.signing_keys, issuer=issuer, times=times)
    authorization = Authorization(
        store,
        clients,
        opened.signing_keys,
        clock,
        issuer=issuer,
        times=times,
        interaction_ttl=_seconds(settings.interaction_ttl_seconds),
    )
    grants: list[GrantHandler] = [
        grant(GrantContext(store, token_issuer, opened.keys)) for feature in FEATURES for grant in feature.grants
    ]
    return Services(
        store=store,
        clock=clock,
        metrics=opened.metrics,
        clients=clients,
        signing_keys=opened.signing_keys,
        sessions=sessions,
        login=Login(store, sessions, opened.hasher, clock, opened.metrics),
        authorization=authorization,
        token=TokenService(clients, grants, clock, opened.metrics, issuer=issuer),
        userinfo=UserInfo(store, clients, clock, issuer=issuer),
        introspection=Introspection(store, clients, clock, issuer=issuer),
        revocation=Revocation(store, clients, clock),
        logout=Logout(clients, sessions, authorization, clock),
        setup=Setup(store, opened.hasher, clock, password_min_length=settings.password_min_length),
        pages=pages,
        cookies=Cookies(issuer=issuer, csrf_key=opened.keys.csrf),
        drain=drain,
        demo=demo,
        issuer=issuer,
        max_body_bytes=settings.max_body_bytes,
    )


def _jobs(opened: Opened) -> Jobs:
    sweep = Sweep(opened.store, opened.clock)
    return Jobs(
        {
            "sweep": (timedelta(minutes=10), sweep.run),
            "rotate_signing_keys": (timedelta(minutes=1), opened.signing_keys.rotate_when_due),
            "sample_metrics": (timedelta(seconds=5), opened.metrics.sample),
        }
    )


def _token_times(settings: Settings) -> TokenTimes:
    return TokenTimes(
        access_token=_seconds(settings.access_token_ttl_seconds),
        id_token=_seconds(settings.id_token_ttl_seconds),
        code=_seconds(settings.code_ttl_seconds),
        refresh_token=_seconds(settings.refresh_token_ttl_seconds),
        refresh_grace=_seconds(settings.refresh_grace_seconds),
    )


def _key_times(settings: Settings) -> KeyTimes:
    return KeyTimes(
        jwks_max_age=_seconds(settings.jwks_max_age_seconds),
        longest_token=_seconds(max(settings.access_token_ttl_seconds, settings.id_token_ttl_seconds)),
        rotation=timedelta(days=settings.key_rotation_days),
    )


def _seconds(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)
