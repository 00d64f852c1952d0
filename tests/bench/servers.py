"""The two servers that are compared, PostgreSQL beneath ours, and what the kernel knows about their processes."""

import contextlib
import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from machine import ROOT, SERVER_CORE, VAR, BenchError

START_SECONDS, STOP_SECONDS = 60, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """How one server is started, and the little in which its authorization requests differ from the other's."""

    name: str
    issuer: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    refresh_params: Mapping[str, str] = field(default_factory=dict)


class Server:
    """A contestant that can be started, measured and stopped, again and again."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.process: subprocess.Popen[bytes] | None = None
        self.log = VAR / f"{contestant.name}.log"

    def start(self) -> float:
        """Start the server on its core and return the seconds until discovery answered 200."""
        if self._answers():
            raise BenchError(f"something else already answers at {self.contestant.issuer}")
        self.__dict__.pop("discovery", None)
        began = time.perf_counter()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "--cpu-list", str(SERVER_CORE), *self.contestant.command],
                cwd=ROOT,
                env=dict(self.contestant.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while not self._answers():
            if self.process.poll() is not None:
                raise BenchError(f"{self.contestant.name} ended with {self.process.returncode}:\n{self._log_tail()}")
            if time.perf_counter() - began > START_SECONDS:
                raise BenchError(f"{self.contestant.name} did not answer in {START_SECONDS} s:\n{self._log_tail()}")
            time.sleep(0.002)
        return time.perf_counter() - began

    def stop(self, signal_number: signal.Signals = signal.SIGTERM) -> None:
        """End the server and whatever it started, which share a process group of their own."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        # Whoever is left did not listen.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    @cached_property
    def discovery(self) -> dict[str, Any]:
        """The server's own metadata: the endpoints are taken from there."""
        document: dict[str, Any] = httpx2.get(self.contestant.issuer + "/.well-known/openid-configuration").json()
        return document

    def cpu_seconds(self) -> float:
        """The processor time that the server's processes with all their threads have used, their ended children too."""
        ticks = sum(sum(map(int, _stat(pid)[11:15])) for pid in self._pids())
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """VmRSS of the server's processes."""
        return sum(_resident_kilobytes(pid) for pid in self._pids()) * 1024

    def _pids(self) -> list[int]:
        if self.process is None or self.process.poll() is not None:
            raise BenchError(f"{self.contestant.name} is not running any more:\n{self._log_tail()}")
        return list(_with_descendants(self.process.pid))

    def _answers(self) -> bool:
        address = urlsplit(self.contestant.issuer)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
        try:
            connection.request("GET", "/.well-known/openid-configuration")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])


def _stat(pid: int) -> list[str]:
    # The name in parentheses may hold spaces; behind it stands field 3, so utime, stime, cutime, cstime are 11 to 14.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _resident_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


def _with_descendants(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _with_descendants(int(child))
