"""The machine under the benchmark: its folders, cores and programs."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = Path(__file__).resolve().parent
PEER = BENCH / "peer"
VAR = ROOT / "var" / "bench"

SERVER_CORE, LOAD_CORE = 0, 1


class BenchError(Exception):
    """Something is missing or went wrong; the text tells what to do."""


def check_prerequisites() -> None:
    """Say what is missing before anything is started."""
    if not sys.platform.startswith("linux"):
        raise BenchError("the benchmark reads /proc and pins processes: it needs Linux")
    if shutil.which("wrk") is None:
        raise BenchError("wrk is missing: apt-get install wrk")
    if shutil.which("taskset") is None:
        raise BenchError("taskset is missing: apt-get install util-linux")
    if not {SERVER_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise BenchError(f"cores {SERVER_CORE} and {LOAD_CORE} are needed: one for the server, one for its load")


def versions() -> dict[str, str]:
    """What was measured, by name and version."""
    packages = ("starlette", "uvicorn", "uvloop", "sqlalchemy", "asyncpg", "cryptography", "joserfc", "argon2-cffi")
    lock = json.loads((PEER / "package-lock.json").read_text())["packages"]
    model = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "commit": _output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "processor": f"{len(model)} × {model[0]}" if model else "unknown",
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in packages},
        "node": _output(["node", "--version"]),
        "oidc-provider": lock["node_modules/oidc-provider"]["version"],
        "wrk": _output(["wrk", "--version"]).split(" [")[0],
    }


def run_on_server_core(arguments: list[str], seconds: float) -> str:
    """Run a program on the server's core and return what it prints."""
    command = ["taskset", "--cpu-list", str(SERVER_CORE), *arguments]
    return run(command, cwd=ROOT, env=clean_environment(), seconds=seconds)


def run(command: list[str], *, cwd: Path, env: Mapping[str, str], seconds: float) -> str:
    """Run a program to its end and return what it prints."""
    try:
        done = subprocess.run(command, cwd=cwd, env=dict(env), capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(command)} did not end within {seconds:.0f} s") from None
    if done.returncode:
        raise BenchError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Return the environment without what would change how a server runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("IDP_", "NODE_", "UVICORN_"))}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return "unknown"
    lines = (done.stdout or done.stderr).splitlines()
    # wrk prints its version with exit code 1.
    return lines[0].strip() if lines and "fatal" not in lines[0] else "unknown"
