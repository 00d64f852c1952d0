import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Idp
from tests.support.paths import ROOT

Serve = Callable[..., "Server"]


class Server:
    """`idp serve` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        env = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
        self._errors = (folder / "stderr").open("w+")
        command = [sys.executable, "-m", "idp", "serve", *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=self._errors, text=True, start_new_session=True
        )

    def lines(self, count: int) -> list[str]:
        """Return the next lines that it prints."""
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline().rstrip("\n") for _ in range(count)]
        assert all(lines), self.stderr()
        return lines

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def stderr(self) -> str:
        self._errors.seek(0)
        return self._errors.read()

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    started: list[Server] = []

    def start(*arguments: str, **environ: str) -> Server:
        started.append(Server(folder, *arguments, **environ))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        text: str = response.read().decode()
        return text


def discovery(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(get(f"http://localhost:{port}/.well-known/openid-configuration"))
    return found


# ── One process ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_empty_folder_is_made_ready_and_a_link_to_the_first_super_admin_is_printed_to_the_terminal_only(
    serve: Serve, folder: Path, port: int
):
    server = serve("--port", str(port))
    address, link = server.lines(2)
    assert address == f"Lab ID: http://localhost:{port}"
    match = re.fullmatch(
        r"There is no administrator yet\. Within an hour, create one at (http://\S+/setup/(\S+))", link
    )
    assert match is not None
    assert "<form" in get(match[1])
    # The issuer follows the port, because nobody chose one.
    assert discovery(port)["issuer"] == f"http://localhost:{port}"
    assert json.loads(get(f"http://localhost:{port}/readyz"))["status"] == "ready"
    assert server.stop() == 0
    assert match[2] not in server.stderr()
    assert (folder / "keys" / "key-encryption-key").is_file()


def test_an_issuer_that_was_chosen_does_not_follow_the_port(serve: Serve, installation: Path, port: int):
    server = serve("--port", str(port), IDP_ISSUER="http://localhost:4711")
    assert server.lines(1) == ["Lab ID: http://localhost:4711"]
    assert discovery(port)["issuer"] == "http://localhost:4711"
    assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(("trusted", "smtp_url", "warned"), [("", "", True), ("127.0.0.1", "smtp://localhost", False)])
def test_a_proxy_on_this_machine_that_nobody_named_and_mail_without_a_server_are_warned_of(
    serve: Serve, installation: Path, port: int, trusted: str, smtp_url: str, warned: bool
):
    environ = {"IDP_TRUSTED_PROXIES": trusted, "IDP_SMTP_URL": smtp_url}
    server = serve("--port", str(port), IDP_ISSUER="https://id.example.org", **environ)
    assert server.lines(1) == ["Lab ID: https://id.example.org"]
    assert server.stop() == 0
    for event in ("proxy.not_trusted", "mail.not_configured"):
        assert (f'"event":"{event}"' in server.stderr()) is warned


# ── What is found before it starts ──────────────────────────────────────────────────────────────────────────────────
def test_a_port_in_use_is_told_with_the_option_that_chooses_another(idp: Idp, folder: Path, taken: int):
    result = idp("serve", "--port", str(taken), code=3)
    assert result.stderr == f"error: port {taken} is in use: choose another with --port\n"
    assert list(folder.iterdir()) == []


def test_an_address_of_another_machine_is_told(idp: Idp, port: int):
    result = idp("serve", "--host", "192.0.2.1", "--port", str(port), code=3)
    assert result.stderr == f"error: cannot listen on 192.0.2.1, port {port}: Cannot assign requested address\n"


def test_several_workers_on_sqlite_are_refused(idp: Idp, port: int):
    assert "SQLite serves one worker" in idp("serve", "--port", str(port), "--workers", "2", code=3).stderr


def test_a_missing_key_is_refused(idp: Idp, installation: Path, port: int):
    (installation / "keys" / "key-encryption-key").unlink()
    assert "the key-encryption key of this database is missing" in idp("serve", "--port", str(port), code=3).stderr


def test_a_database_on_the_command_line_wins_over_the_environment(
    idp: Idp, folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("IDP_DATABASE_URL", "mysql://nonsense")
    (folder / "foreign.db").write_bytes(b"this is no database at all" * 100)
    result = idp("serve", "--port", str(port), "--database-url", "sqlite:///foreign.db", code=3)
    assert "file is not a database" in result.stderr


# ── Several processes ───────────────────────────────────────────────────────────────────────────────────────────────
def test_several_workers_share_an_empty_postgresql_database_that_serve_made_ready(
    serve: Serve, empty_postgresql_url: str, port: int
):
    server = serve("--port", str(port), "--workers", "2", "--database-url", empty_postgresql_url)
    address, link = server.lines(2)
    assert address == f"Lab ID: http://localhost:{port}"
    assert "/setup/" in link
    assert discovery(port)["issuer"] == f"http://localhost:{port}"
    assert json.loads(get(f"http://localhost:{port}/readyz"))["status"] == "ready"
    assert "idp_request_duration_seconds" in get(f"http://localhost:{port}/metrics")
    assert server.stop() == 0


# ── The demo ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_demo_serves_data_of_its_own_and_its_application_and_tells_how_to_sign_in(
    serve: Serve, folder: Path, port: int
):
    rp_port = free_port()
    server = serve("--demo", "--port", str(port), "--rp-port", str(rp_port))
    assert server.lines(4) == [
        f"Lab ID: http://localhost:{port}",
        f"Demo application: http://localhost:{rp_port}",
        "Sign in as alice@example.org / correct-horse-battery (administrator, admin of Biology)",
        "Sign in as bob@example.org / blue-whale-singing (member of Biology, viewer of Chemistry)",
    ]
    assert "alice@example.org" in get(f"http://localhost:{port}/")
    assert get(f"http://localhost:{rp_port}/")
    assert server.stop(signal.SIGINT) == 0
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix == ".db"} == {
        "var/demo/idp.db"
    }
    assert not (folder / "keys").exists()

    # Again, with the application elsewhere.
    again = serve("--demo", "--port", str(port), "--rp-port", str(free_port()))
    assert again.lines(4)[2].startswith("Sign in as alice@example.org")
    assert again.stop() == 0


def test_the_demo_refuses_an_issuer_that_others_reach(idp: Idp, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IDP_ISSUER", "https://id.example.org")
    assert "--demo has public passwords" in idp("serve", "--demo", code=3).stderr


@pytest.mark.parametrize("by", ["environment", "option", "file"])
def test_the_demo_refuses_another_store(idp: Idp, folder: Path, by: str, monkeypatch: pytest.MonkeyPatch):
    url = "sqlite:///var/other.db"
    if by == "environment":
        monkeypatch.setenv("IDP_DATABASE_URL", url)
    if by == "file":
        (folder / "idp.toml").write_text(f'database_url = "{url}"')
    options = ["--database-url", url] if by == "option" else []
    assert "--demo keeps its data in var/demo" in idp("serve", "--demo", *options, code=3).stderr
    assert not (folder / "var").exists()


def test_the_demo_refuses_a_store_in_its_place_that_it_did_not_make(idp: Idp, folder: Path):
    (folder / "var" / "demo").mkdir(parents=True)
    (folder / "var" / "demo" / "idp.db").touch()
    assert "var/demo/idp.db was not made by --demo" in idp("serve", "--demo", code=3).stderr


def test_the_demo_says_how_to_move_its_application(idp: Idp, folder: Path, port: int, taken: int):
    result = idp("serve", "--demo", "--port", str(port), "--rp-port", str(taken), code=3)
    assert result.stderr == f"error: port {taken} is in use: choose another with --rp-port\n"
