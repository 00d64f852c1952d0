"""The rows of the report: what is measured, against what, and the figure to reach."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import shots
from contestants import Postgres, our_server, peer_server
from load import Kind, Load, drive
from machine import BENCH, run_on_server_core
from servers import Server
from upstream import Upstream

WARM_UP_SECONDS = 8
PEER, RSA, ARGON2 = "oidc-provider", "bare RSA-2048", "bare argon2id"
LABLESS, ALLOWED = "the same without labs", "allowed"
CLAIMS_MS, PAGE_MS, CALLBACK_MS = 1.0, 50.0, 3.0
SIGN_IN_PAGE = "the sign-in page"
# Filling a database with 150,000 people takes most of it.
LABS_SECONDS = 900
# The default of IDP_ARGON2_THREADS.
ARGON2_THREADS = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement and the figures around it."""

    value: float
    details: dict[str, Any] = field(default_factory=dict)


class Bench:
    """The servers, started when a row first needs them, and how hard they are driven."""

    def __init__(self, stack: ExitStack, workspace: Path, *, rounds: int, seconds: float, connections: int) -> None:
        self.stack = stack
        self.workspace = workspace
        self.rounds = rounds
        self.seconds = seconds
        self.connections = connections
        self.differences: dict[str, dict[str, list[str]]] = {}

    @cached_property
    def postgres(self) -> Postgres:
        """The database of our server."""
        postgres = Postgres()
        self.stack.callback(postgres.stop)
        return postgres

    @cached_property
    def ours(self) -> Server:
        """Lab ID."""
        return self._started(Server(our_server(self.workspace, self.postgres.url)))

    @cached_property
    def upstream(self) -> Upstream:
        """What people sign in through."""
        upstream = Upstream(self.workspace / "upstream")
        self.stack.callback(upstream.stop)
        return upstream

    @cached_property
    def ours_upstream(self) -> Server:
        """A Lab ID where people sign in through another provider."""
        return self._with_upstream("lab-id-upstream", self.postgres.create("upstream"))

    @cached_property
    def ours_upstream_sqlite(self) -> Server:
        """The same on SQLite, which runs inside it."""
        name = "lab-id-upstream-sqlite"
        return self._with_upstream(name, f"sqlite:///{self.workspace / 'upstream.db'}")

    def server_of(self, name: str) -> Server:
        """Return the server of ours that answers one kind of request."""
        return self.ours_upstream if name in shots.UPSTREAM else self.ours

    @cached_property
    def peer(self) -> Server:
        """The npm package oidc-provider."""
        return self._started(Server(peer_server(self.workspace)))

    def measure(self, server: Server, name: str, seconds: float | None = None) -> Sample:
        """Load the server with one kind of request, which must be answered well before and after."""
        load = self._measured(server, name, seconds or self.seconds)
        return Sample(load.per_cpu_second, load.details())

    def milliseconds(self, server: Server, name: str, seconds: float | None = None) -> Sample:
        """The same in processor time for a request."""
        load = self._measured(server, name, seconds or self.seconds)
        return Sample(load.cpu_ms, load.details())

    def labs(self, what: str, *arguments: str) -> dict[str, float]:
        """Let labs.py measure on the server's core."""
        command = [sys.executable, str(BENCH / "labs.py"), what, *arguments]
        found: dict[str, float] = json.loads(run_on_server_core(command, LABS_SECONDS))
        return found

    def bare(self, operation: str, threads: int) -> Sample:
        """Let the server's core do nothing but one cryptographic operation."""
        command = [sys.executable, str(BENCH / "bare.py"), operation, str(self.seconds / 2), str(threads)]
        return Sample(float(run_on_server_core(command, self.seconds + 60)))

    def _measured(self, server: Server, name: str, seconds: float) -> Load:
        load, kind = self._driven(server, name, seconds)
        # Such a run ends with what was made for it, so more of them follow.
        while kind.ends and load.seconds < seconds:
            load += self._driven(server, name, seconds)[0]
        return load

    def _driven(self, server: Server, name: str, seconds: float) -> tuple[Load, Kind]:
        shot = shots.SHOTS[name](server, self.connections)
        shot.check(server)
        load = drive(server, shot, seconds=seconds, connections=self.connections)
        if not shot.kind.spends:
            shot.check(server)
        return load, shot.kind

    def _with_upstream(self, name: str, database_url: str) -> Server:
        folder = self.workspace / name
        folder.mkdir()
        return self._started(Server(our_server(folder, database_url, name=name, settings=self.upstream.settings)))

    def _started(self, server: Server) -> Server:
        self.stack.callback(server.stop)
        server.start()
        return server


Pairs = Iterator[tuple[Sample, Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report: `rounds` yields our figure and the other's, measured one after the other."""

    name: str
    title: str
    rounds: Callable[[Bench], Pairs]
    target: float | None = None
    other: str = PEER
    aim: float | None = None
    unit: str = "per CPU-s"
    lower_is_better: bool = False


def against_peer(name: str) -> Callable[[Bench], Pairs]:
    def rounds(bench: Bench) -> Pairs:
        bench.differences[name] = shots.differences(
            *(shots.SHOTS[name](server, 1).check(server) for server in (bench.ours, bench.peer))
        )
        for server in (bench.ours, bench.peer):
            bench.measure(server, name, WARM_UP_SECONDS)
        for _ in range(bench.rounds):
            yield bench.measure(bench.ours, name), bench.measure(bench.peer, name)

    return rounds


def against_bare(name: str, operation: str, threads: int) -> Callable[[Bench], Pairs]:
    def rounds(bench: Bench) -> Pairs:
        bench.measure(bench.ours, name, WARM_UP_SECONDS)
        for _ in range(bench.rounds):
            yield bench.measure(bench.ours, name), bench.bare(operation, threads)

    return rounds


def against_ourselves(name: str, other: str) -> Callable[[Bench], Pairs]:
    def rounds(bench: Bench) -> Pairs:
        for each in (name, other):
            bench.measure(bench.ours, each, WARM_UP_SECONDS)
        for _ in range(bench.rounds):
            yield bench.measure(bench.ours, name), bench.measure(bench.ours, other)

    return rounds


def upstream_callback(server: Callable[[Bench], Server]) -> Callable[[Bench], Pairs]:
    def rounds(bench: Bench) -> Pairs:
        # The first time makes everybody's account.
        bench.measure(server(bench), "upstream_callback", WARM_UP_SECONDS)
        for _ in range(bench.rounds):
            yield bench.milliseconds(server(bench), "upstream_callback"), Sample(CALLBACK_MS)

    return rounds


def upstream_leave(bench: Bench) -> Pairs:
    for name in ("upstream_leave", "login_page"):
        bench.measure(bench.ours_upstream, name, WARM_UP_SECONDS)
    for _ in range(bench.rounds):
        left, page = (bench.milliseconds(bench.ours_upstream, name) for name in ("upstream_leave", "login_page"))
        yield left, page


def lab_claims(bench: Bench) -> Pairs:
    for _ in range(bench.rounds):
        found = bench.labs("claims")
        yield Sample(max(found.values()), found), Sample(CLAIMS_MS)


def lab_pages(bench: Bench) -> Pairs:
    found = bench.labs("pages", bench.postgres.create("labs"))
    yield Sample(max(found.values()), found), Sample(PAGE_MS)


def resident_memory(bench: Bench) -> Pairs:
    def loaded(server: Server) -> Sample:
        server.stop()
        server.start()
        fresh = server.resident_bytes()
        for name in shots.SHARED:
            bench.measure(server, name)
        return Sample(server.resident_bytes() / 2**20, {"fresh_mib": round(fresh / 2**20, 1)})

    yield loaded(bench.ours), loaded(bench.peer)


def start_up(bench: Bench) -> Pairs:
    def started(server: Server) -> Sample:
        server.stop()
        return Sample(server.start())

    for _ in range(bench.rounds):
        yield started(bench.ours), started(bench.peer)


ROWS = (
    Row(
        name="client_credentials",
        title="Client credentials, RS256 JWT",
        target=1.15,
        aim=1.35,
        rounds=against_peer("client_credentials"),
    ),
    Row(
        name="signing",
        title="… ÷ bare RSA-2048 signatures",
        target=0.55,
        other=RSA,
        rounds=against_bare("client_credentials", "rsa", 1),
    ),
    Row(name="jwks", title="JWKS", target=1.6, rounds=against_peer("jwks")),
    Row(name="discovery", title="Discovery", target=2.5, rounds=against_peer("discovery")),
    Row(name="userinfo", title="UserInfo", target=1.2, rounds=against_peer("userinfo")),
    Row(name="introspection", title="Introspection", target=1.3, rounds=against_peer("introspection")),
    Row(name="refresh", title="Rotating refresh", target=1.1, rounds=against_peer("refresh")),
    Row(name="authorization", title="Authorization with a live session", rounds=against_peer("authorization")),
    Row(name="code_exchange", title="Code exchange, two signatures", rounds=against_peer("code_exchange")),
    Row(
        name="login",
        title="Password login ÷ bare argon2id",
        target=0.85,
        other=ARGON2,
        rounds=against_bare("login", "argon2", ARGON2_THREADS),
    ),
    Row(
        name="upstream_callback",
        title="Back from another provider to a session",
        target=1.0,
        other=ALLOWED,
        unit="ms of CPU",
        lower_is_better=True,
        rounds=upstream_callback(lambda bench: bench.ours_upstream),
    ),
    Row(
        name="upstream_callback_sqlite",
        title="… on SQLite",
        target=1.0,
        other=ALLOWED,
        unit="ms of CPU",
        lower_is_better=True,
        rounds=upstream_callback(lambda bench: bench.ours_upstream_sqlite),
    ),
    Row(
        name="upstream_leave",
        title="Off to another provider",
        other=SIGN_IN_PAGE,
        unit="ms of CPU",
        lower_is_better=True,
        rounds=upstream_leave,
    ),
    Row(
        name="lab_refresh",
        title="Rotating refresh with five labs",
        # At most a tenth more processor time.
        target=0.91,
        other=LABLESS,
        rounds=against_ourselves("lab_refresh", "labless_refresh"),
    ),
    Row(
        name="lab_claims",
        title="Claims for somebody in 400 labs",
        target=1.0,
        other=ALLOWED,
        unit="ms of CPU",
        lower_is_better=True,
        rounds=lab_claims,
    ),
    Row(
        name="lab_pages",
        title="The slowest page of labs with up to 100,000 members",
        target=1.0,
        other=ALLOWED,
        unit="ms",
        lower_is_better=True,
        rounds=lab_pages,
    ),
    Row(
        name="memory",
        title="Resident memory after load",
        target=0.65,
        unit="MiB",
        lower_is_better=True,
        rounds=resident_memory,
    ),
    Row(
        name="startup",
        title="Start to first 200",
        target=2.0,
        unit="s",
        lower_is_better=True,
        rounds=start_up,
    ),
)
