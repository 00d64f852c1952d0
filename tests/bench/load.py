"""Drives a server with wrk and relates the requests that were answered to the server's processor time."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urljoin

import httpx2
from machine import BENCH, VAR, BenchError
from servers import Server


class Kind(StrEnum):
    """What makes one request differ from the next; see wrk.lua."""

    BODY = "body"
    BEARER = "bearer"
    CHAIN = "chain"
    COOKIE = "cookie"
    ONCE = "once"
    VISIT = "visit"

    @property
    def spends(self) -> bool:
        """Whether a line is good for one request only."""
        return self is Kind.CHAIN or self.ends

    @property
    def ends(self) -> bool:
        """Whether nothing comes of a request that could be sent again, so that a run ends with its lines."""
        return self in {Kind.ONCE, Kind.VISIT}


# How many seconds wrk has for lines that are good for one request each; it ends when they are all answered.
SPENDING_SECONDS = 60


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
    # As many at most, where more at a time would be another case.
    connections: int | None = None
    accept: Callable[[httpx2.Response], bool]

    def check(self, server: Server) -> httpx2.Response:
        """Send the first request once, and insist on a good answer."""
        line = self.lines[0]
        own = {Kind.BEARER: {"Authorization": f"Bearer {line}"}, Kind.COOKIE: {"Cookie": line}}.get(self.kind)
        is_body = own is None and self.kind is not Kind.VISIT
        url = urljoin(self.url, line) if self.kind is Kind.VISIT else self.url
        with httpx2.Client(follow_redirects=False, timeout=30) as http:
            answer = http.request(
                self.method, url, headers={**self.headers, **(own or {})}, content=line if is_body else ""
            )
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

    @property
    def cpu_ms(self) -> float:
        """The server's processor time for a request, in milliseconds."""
        return 1000 * self.cpu_seconds / self.requests

    def __add__(self, other: "Load") -> "Load":
        """Both runs as one, with the worse latencies."""
        return Load(
            requests=self.requests + other.requests,
            seconds=self.seconds + other.seconds,
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            p50_ms=max(self.p50_ms, other.p50_ms),
            p99_ms=max(self.p99_ms, other.p99_ms),
        )

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
    if shot.kind.ends:
        seconds = SPENDING_SECONDS
    connections = min(connections, shot.connections or connections)
    with tempfile.NamedTemporaryFile("w", dir=VAR, prefix="lines-") as lines:
        # The first of those was spent by `check`.
        lines.writelines(f"{line}\n" for line in shot.lines[shot.kind.spends :])
        lines.flush()
        # wrk looks at each status only where that is needed: without it, it costs less of the core it shares.
        judged = str(shot.status) if shot.kind.spends or shot.status >= 300 else ""
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
    if shot.kind.ends and result["requests"] != len(shot.lines) - 1:
        raise BenchError(f"{server.contestant.name}: {shot.url}: not all requests were answered in {seconds} s")
    return Load(cpu_seconds=cpu_seconds, **result)


def brief(answer: httpx2.Response) -> str:
    """Return the beginning of an answer's text on one line."""
    return " ".join(answer.text.split())[:300]
