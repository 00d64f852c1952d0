"""Running the server: everything that can be wrong is found before it starts, then one process or several serve."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from errno import EACCES, EADDRINUSE
from typing import Any

import typer
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from idp.cli.demo import prepare_demo, require_demo_store
from idp.cli.run import CANNOT_START, CannotStart, refusing
from idp.cli.transport import Protocol
from idp.cli.worker import loading, spare_the_garbage_collector
from idp.observe.logs import configure_logs, get_logger
from idp.setting_sources import load_settings
from idp.settings import Settings, is_loopback

_LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}
_BACKLOG = 2048
# Longer than the proxies before us keep theirs, so that none sends into a connection that we are closing.
_KEEP_ALIVE_SECONDS = 75
_log = get_logger(__name__)


def start(overrides: Mapping[str, Any], *, demo_rp_port: int | None) -> None:
    """Serve until a signal says to stop; with `demo_rp_port`, demo data and the demo application on that port."""
    with ExitStack() as held:
        settings, sockets, link = refusing(_prepare(overrides, demo_rp_port, held))
        lines = _greeting(settings, link, demo_rp_port)
        if settings.workers > 1:
            _serve_with_workers(settings, sockets[0], lines)
        else:
            _serve_here(settings, sockets, lines, demo_rp_port)


async def _prepare(
    overrides: Mapping[str, Any], demo_rp_port: int | None, held: ExitStack
) -> tuple[Settings, Sequence[socket.socket], str | None]:
    settings = _load(overrides)
    if demo_rp_port is not None:
        settings = require_demo_store(settings, overrides)
    configure_logs(settings.log_format, settings.log_level)
    if not (is_loopback(settings.issuer) or settings.trusted_proxies) and settings.listen_host in _LOOPBACK_HOSTS:
        # Whoever comes from outside comes through a proxy here, and all would count as this machine: nobody limited.
        _log.warning("proxy.not_trusted", listen_host=settings.listen_host)
    if settings.smtp_url is None and not is_loopback(settings.issuer):
        _log.warning("mail.not_configured")
    sockets = [held.enter_context(_listen(settings.listen_host, settings.listen_port, "--port"))]
    if demo_rp_port is not None:
        sockets.append(held.enter_context(_listen("127.0.0.1", demo_rp_port, "--rp-port")))
    if settings.workers > 1:
        # Decided when the metrics are first imported, below and in the workers.
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="lab-id-metrics-"))
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    return settings, sockets, await _open(settings, demo_rp_port)


def _load(overrides: Mapping[str, Any]) -> Settings:
    settings = load_settings(**overrides)
    if "issuer" in settings.model_fields_set:
        return settings
    # Nobody chose an issuer, so it is where the server listens.
    port = "" if settings.listen_port == 80 else f":{settings.listen_port}"
    return load_settings(**overrides, issuer=f"http://localhost{port}")


async def _open(settings: Settings, demo_rp_port: int | None) -> str | None:
    """Bring the store up, and return the path of the link to the first super_admin where there is none."""
    with loading():
        from idp.opening import open_store, password_policy
        from idp.services.setup import Setup
        from idp.store import migrate
        from idp.store.database import Database

    database = Database(settings.database_driver_url)
    try:
        # PostgreSQL with an older schema may serve other nodes of the previous release: that is upgraded by hand.
        create = database.dialect == "sqlite" or await migrate.current(database) is None
    finally:
        await database.close()
    async with open_store(settings, create=create) as opened:
        if demo_rp_port is not None:
            await prepare_demo(opened, rp_port=demo_rp_port)
        policy = password_policy(settings, opened.outbound)
        setup = Setup(opened.store, opened.hasher, opened.clock, policy)
        token = await setup.open_link()
    return None if token is None else f"/setup/{token}"


def _listen(host: str, port: int, option: str) -> socket.socket:
    """Return a listening socket; what it accepts waits until the server is ready.

    Raises:
        CannotStart: the port is taken, or may not be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = min(found, key=lambda info: info[0] is not socket.AF_INET)
        dual = family is socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    except OSError as error:
        if error.errno == EADDRINUSE:
            text = f"port {port} is in use: choose another with {option}"
        elif error.errno == EACCES:
            text = f"port {port} needs privileges: choose one above 1023 with {option}"
        else:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            text = f"cannot listen on {host}, port {port}: {reason}"
        raise CannotStart(text) from None


def _greeting(settings: Settings, link: str | None, demo_rp_port: int | None) -> list[str]:
    lines = [f"Lab ID: {settings.issuer}"]
    if demo_rp_port is not None:
        from idp.demo.data import SIGN_INS

        lines.append(f"Demo application: http://localhost:{demo_rp_port}")
        lines += [f"Sign in as {email} / {password} ({who})" for email, password, who in SIGN_INS]
    if link is not None:
        lines.append(f"There is no administrator yet. Within an hour, create one at {settings.issuer}{link}")
    return lines


def _common(settings: Settings) -> dict[str, Any]:
    return {
        "loop": "uvloop",
        "http": Protocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "log_config": None,
        "backlog": _BACKLOG,
        "timeout_keep_alive": _KEEP_ALIVE_SECONDS,
        "timeout_graceful_shutdown": settings.drain_seconds,
    }


class _Server(uvicorn.Server):
    """A server that shares its process and its signals with another, and tells when it answers."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        spare_the_garbage_collector()
        self._on_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _serve_here(
    settings: Settings, sockets: Sequence[socket.socket], lines: Sequence[str], demo_rp_port: int | None
) -> None:
    from idp.app import create_app
    from idp.demo.data import SIGN_INS
    from idp.web.services import Demo, Drain

    demo = None
    if demo_rp_port is not None:
        demo = Demo(accounts=SIGN_INS, rp_url=f"http://localhost:{demo_rp_port}")
    drain = Drain()
    apps: list[Any] = [create_app(settings, demo=demo, drain=drain)]
    if demo_rp_port is not None:
        from idp.demo.relying_party import create_relying_party

        apps.append(create_relying_party(issuer=settings.issuer, port=demo_rp_port))
    waiting = len(apps)

    def started() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            _say(lines)

    servers = [_Server(uvicorn.Config(app, **_common(settings)), started) for app in apps]

    async def serve() -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            for server in servers:
                # Asked a second time, it stops without waiting for running requests.
                server.force_exit = server.should_exit
                server.should_exit = True

        def announce() -> None:
            drain.draining = True
            loop.call_later(settings.drain_delay_seconds, stop)

        loop.add_signal_handler(signal.SIGINT, stop)
        loop.add_signal_handler(signal.SIGTERM, announce)
        async with asyncio.TaskGroup() as group:
            for server, listening in zip(servers, sockets, strict=True):
                group.create_task(server.serve(sockets=[listening]))

    with asyncio.Runner(loop_factory=servers[0].config.get_loop_factory()) as runner:
        runner.run(serve())


class _Supervisor(Multiprocess):
    """Starts and watches workers."""

    def terminate_all(self) -> None:
        """Stop all workers; the port closes first, or connections would wait at it that nobody accepts."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


def _serve_with_workers(settings: Settings, listening: socket.socket, lines: Sequence[str]) -> None:
    # Workers read their settings themselves; what the command line changed reaches them like this.
    os.environ["IDP_ISSUER"] = settings.issuer
    os.environ["IDP_DATABASE_URL"] = settings.database_url.get_secret_value()
    config = uvicorn.Config("idp.cli.worker:create", factory=True, workers=settings.workers, **_common(settings))
    _say(lines)
    supervisor = _Supervisor(config, sockets=[listening])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise typer.Exit(CANNOT_START)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(line, flush=True)
