"""A real Lab ID for tests: `idp init`, `idp apply` and `idp serve` as processes of their own.

Applications beside it run in threads, on sockets that were bound before anything had to know their ports.
"""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from ssl import SSLContext
from threading import Thread
from typing import Any

import httpx2
import uvicorn

from tests.support.paths import ROOT

PASSWORD = "correct-horse-battery"
ADMIN = "admin@example.org"
START_SECONDS = 60
STOP_SECONDS = 30
_PEOPLE = 100
# Small: what these tests are about is not the hash.
_CHEAP_PASSWORDS = {"IDP_ARGON2_MEMORY_KIB": "1024", "IDP_ARGON2_TIME_COST": "1"}


@dataclass(frozen=True)
class Provider:
    """A running server; `log` is what it wrote."""

    issuer: str
    log: Path
    numbers: Iterator[int]
    env: Mapping[str, str] = field(repr=False)

    def new_person(self) -> str:
        """Return the email of somebody who never signed in before: an admin in Biology, a viewer in Chemistry."""
        number = next(self.numbers)
        assert number < _PEOPLE, "the tests need more people"
        return _email(number)

    async def mailed(self, email: str, pattern: str) -> str:
        """Return what stands in the newest mail to somebody, which is shown on the terminal, once it is there."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                mails = re.split(r"^From: ", self.log.read_text(), flags=re.M)
                found = [re.findall(pattern, mail, re.M) for mail in mails if f"\nTo: {email}\n" in mail]
                if found and found[-1]:
                    return str(found[-1][0])
                await asyncio.sleep(0.05)

    def idp(self, *arguments: str) -> str:
        """Run a command beside the server and return what it printed."""
        return _run(*arguments, folder=self.log.parent, env=self.env)

    def setup_link(self) -> str:
        """Return the address that the server printed for creating the first super_admin."""
        (link,) = re.findall(rf"{self.issuer}/setup/\S+", self.log.read_text())
        return link


def inherited() -> dict[str, str]:
    """Return the environment for a server: without settings, and without coverage, which halves its speed.

    What such a server runs is covered in this process or by the tests of the command line.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(("IDP_", "COVERAGE_"))}


def listen() -> socket.socket:
    """Return a listening socket on a free port of this machine."""
    return socket.create_server(("127.0.0.1", 0))


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    return f"{scheme}://localhost:{listener.getsockname()[1]}"


@contextmanager
def provider(
    folder: Path, database_url: str, *, clients: list[dict[str, Any]], settings: Mapping[str, str] = {}
) -> Iterator[Provider]:
    """Set up a store and serve it until the end of the block; the exit must be clean."""
    issuer = f"http://localhost:{_free_port()}"
    env = inherited() | _CHEAP_PASSWORDS
    env |= {"IDP_ISSUER": issuer, "IDP_DATABASE_URL": database_url, "IDP_KEYS_DIR": str(folder / "keys")}
    env |= {"PYTHONPATH": str(ROOT), **settings}
    (folder / "keys").mkdir(mode=0o700)
    # JSON is YAML, too.
    (folder / "apply.yaml").write_text(json.dumps(_people_and_labs() | {"clients": clients}))
    for command in (["init"], ["apply", "apply.yaml"]):
        _run(*command, folder=folder, env=env)
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(_idp("serve"), cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(lambda: _answers(process, issuer, log), seconds=START_SECONDS, what=f"{issuer} answers")
        yield Provider(issuer, log, count(), env)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0, f"the server did not stop cleanly:\n{log.read_text()[-4000:]}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def served(app: Any, listener: socket.socket, tls: SSLContext | None = None) -> Iterator[None]:
    """Serve an application in a thread until the end of the block."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        loop="asyncio",
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: server.started, seconds=START_SECONDS, what="the application runs")
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)


def until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait for a condition, but not for ever."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def _idp(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "idp", *arguments]


def _run(*arguments: str, folder: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(_idp(*arguments), cwd=folder, env=env, capture_output=True, text=True, timeout=START_SECONDS)
    assert done.returncode == 0, f"idp {arguments[0]} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def _answers(process: subprocess.Popen[bytes], issuer: str, log: Path) -> bool:
    assert process.poll() is None, f"the server ended at once:\n{log.read_text()}"
    try:
        return httpx2.get(f"{issuer}/healthz", trust_env=False, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def _free_port() -> int:
    with listen() as listener:
        return listener.getsockname()[1]


def _email(number: int) -> str:
    return f"person{number}@example.org"


def _people_and_labs() -> dict[str, Any]:
    people = [_email(number) for number in range(_PEOPLE)]
    users = [
        {"email": email, "password": PASSWORD, "email_verified": True, "name": f"Person {number}"}
        for number, email in enumerate(people)
    ]
    users.append({"email": ADMIN, "password": PASSWORD, "name": "Ada Admin", "roles": ["admin"]})
    return {
        "labs": [{"slug": "bio", "name": "Biology"}, {"slug": "chem", "name": "Chemistry"}],
        "users": users,
        "memberships": [
            membership
            for email in people
            for membership in (
                {"lab": "bio", "user": email, "role": "admin"},
                {"lab": "chem", "user": email, "role": "viewer", "expires_at": "2099-06-30"},
            )
        ],
    }
