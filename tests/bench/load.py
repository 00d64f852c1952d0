"""Drives a server with wrk and relates the requests that were answered to the server's processor time."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx2
from machine import BENCH, VAR, BenchError
from servers import Server


class Kind(StrEnum):
    """What makes one request differ from the next; see wrk.lua."""

    BODY = "body"
    BEARER = "bearer"
    CHAIN = "chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """The requests that are sent in turn, and how an answer is recognised as the real one.

    Many tokens and users take turns, for a server might answer the same question asked twice at once by one look.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: Kind = Kind.BODY
    lines: Sequence[str] = ("",)
    status: int = 200
    accept: Callable[[httpx2.Response], bool]

    def check(self, server: Server) -> httpx2.Response:
        """Send the first request once, and insist on a good answer."""
        bearer = {"Authorization": f"Bearer {self.lines[0]}"} if self.kind is Kind.BEARER else {}
        body = "" if self.kind is Kind.BEARER else self.lines[0]
        with httpx2.Client(follow_redirects=False, timeout=30) as http:
            answer = http.request(self.method, self.url, headers={**self.headers, **bearer}, content=body)
        if answer.status_code != self.status or not self.accept(answer):
            raise BenchError(
                f"{server.contestant.name}: {self.method} {self.url} answered {answer.status_code}: {brief(answer)}"
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
    with tempfile.NamedTemporaryFile("w", dir=VAR, prefix="lines-") as lines:
        # The first chain was spent by `check`.
        lines.writelines(f"{line}\n" for line in shot.lines[shot.kind is Kind.CHAIN :])
        lines.flush()
        # wrk looks at each status only where that is needed: without it, it costs less of the core it shares.
        judged = str(shot.status) if shot.kind is Kind.CHAIN or shot.status >= 300 else ""
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
        for name, value in shot.headers.items():
            command += ["-H", f"{name}: {value}"]
        command += ["-s", str(BENCH / "wrk.lua"), shot.url, "--", shot.method, judged, shot.kind, lines.name]
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


def brief(answer: httpx2.Response) -> str:
    """Return the beginning of an answer's text on one line."""
    return " ".join(answer.text.split())[:300]
