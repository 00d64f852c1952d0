"""Drives a server with wrk and relates the requests that were answered to the server's processor time."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from machine import BENCH, VAR, BenchError
from servers import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """The request that is repeated, and how its answer is recognised as the real one."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    status: int = 200
    accept: Callable[[httpx2.Response], bool]
    chains: tuple[str, ...] = ()

    def check(self, server: Server) -> httpx2.Response:
        """Send the request once, and insist on a good answer."""
        body = self.body + self.chains[0] if self.chains else self.body
        with httpx2.Client(follow_redirects=False, timeout=10) as http:
            answer = http.request(self.method, self.url, headers=dict(self.headers), content=body)
        if answer.status_code != self.status or not self.accept(answer):
            raise BenchError(
                f"{server.contestant.name}: {self.method} {self.url} answered {answer.status_code}: {answer.text[:300]}"
            )
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One run of wrk."""

    requests: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_cpu_second(self) -> float:
        """Requests answered per second of the server's processor time."""
        return self.requests / self.cpu_seconds

    def details(self) -> dict[str, Any]:
        """The run in figures for the report."""
        return {
            "requests": self.requests,
            "requests_per_second": round(self.requests / self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "busy": round(self.cpu_seconds / self.seconds, 3),
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
        }


def drive(server: Server, shot: Shot, *, seconds: float, connections: int) -> Load:
    """Load the server with one thread of wrk; every answer must be the expected one."""
    with tempfile.NamedTemporaryFile("w", dir=VAR, prefix="chains-") as chains:
        # The first chain was spent by `check`.
        chains.writelines(f"{token}\n" for token in shot.chains[1:])
        chains.flush()
        # wrk looks at each status only where that is needed: without it, it costs less of the core it shares.
        judged = str(shot.status) if shot.chains or shot.status >= 300 else ""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        for name, value in shot.headers.items():
            command += ["-H", f"{name}: {value}"]
        command += ["-s", str(BENCH / "wrk.lua"), shot.url, "--", shot.method, shot.body, judged]
        if shot.chains:
            command.append(str(Path(chains.name)))
        before = server.cpu_seconds()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
        except subprocess.TimeoutExpired:
            raise BenchError(f"wrk did not end: {shot.url}") from None
        cpu_seconds = server.cpu_seconds() - before
    if done.returncode:
        raise BenchError(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
    result = json.loads(done.stdout.splitlines()[-1])
    wrong, broken = result.pop("unexpected"), result.pop("socket_errors")
    if wrong or broken or not result["requests"]:
        raise BenchError(
            f"{server.contestant.name}: {shot.method} {shot.url}: of {result['requests']} answers {wrong} had not the "
            f"expected status; {broken} socket errors"
        )
    return Load(cpu_seconds=cpu_seconds, **result)
