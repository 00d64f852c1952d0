"""Where our server's time goes: cProfile around it while wrk drives a row, or Python's own account of its imports."""

import dataclasses
import pstats
import re
import signal
import sysconfig
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from machine import ROOT, BenchError
from rows import WARM_UP_SECONDS, Bench
from servers import Server

TOP = 30
STARTUP = "startup"
Function = tuple[str, int, str]


def profile(bench: Bench, name: str) -> str:
    """Return the shares of packages in a row, or in the start of the server."""
    return _imports(bench) if name == STARTUP else _calls(bench, name)


def _calls(bench: Bench, name: str) -> str:
    output = bench.workspace / "profile.pstats"
    server = _started_with(bench.server_of(name), bench, "-m", "cProfile", "-o", str(output))
    bench.measure(server, name, WARM_UP_SECONDS)
    sample = bench.measure(server, name)
    # The interrupt unwinds the interpreter, so that cProfile writes what it has.
    server.stop(signal.SIGINT)
    if not output.exists():
        raise BenchError(f"the profiled server left no profile:\n{server.log.read_text(errors='replace')[-2000:]}")
    # Function → calls without recursion, calls, seconds of its own, seconds with what it called, callers.
    stats: dict[Function, tuple[int, int, float, float, object]] = vars(pstats.Stats(str(output)))["stats"]
    own = {function: seconds for function, (_, _, seconds, _, _) in stats.items()}
    total = sum(own.values())
    shares: defaultdict[str, float] = defaultdict(float)
    for function, seconds in own.items():
        shares[_package(function)] += seconds
    lines = [f"{name} under cProfile, which slows Python down but not C: {sample.value:.0f} per CPU-s", ""]
    lines += _shares(shares)
    lines += ["", "  share    calls  function"]
    for function in sorted(own, key=own.__getitem__, reverse=True)[:TOP]:
        lines.append(f"{own[function] / total:6.1%} {stats[function][1]:9d}  {_label(function)}")
    return "\n".join(lines)


def _imports(bench: Bench) -> str:
    server = _started_with(bench.ours, bench, "-X", "importtime")
    server.stop()
    shares: defaultdict[str, float] = defaultdict(float)
    for line in server.log.read_text(errors="replace").splitlines():
        if found := re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", line):
            shares[found[2].partition(".")[0]] += int(found[1]) / 1e6
    return "\n".join([f"imports of the server: {sum(shares.values()):.2f} s", "", *_shares(shares)])


def _started_with(plain: Server, bench: Bench, *options: str) -> Server:
    plain.stop()
    python, *arguments = plain.contestant.command
    server = Server(dataclasses.replace(plain.contestant, command=(python, *options, *arguments)))
    bench.stack.callback(server.stop)
    server.start()
    return server


def _shares(seconds: Mapping[str, float]) -> list[str]:
    total = sum(seconds.values())
    largest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:TOP]
    return [f"{seconds[name] / total:6.1%} {seconds[name]:8.3f} s  {name}" for name in largest]


def _package(function: Function) -> str:
    path, _, name = function
    if path == "~":
        owner = re.search(r"of '([\w.]+)' objects|built-in method ([\w.]+)", name)
        return ((owner and (owner[1] or owner[2])) or "").rpartition(".")[0].split(".")[0] or "built-in types"
    if "site-packages/" in path:
        package = path.partition("site-packages/")[2].split("/")[0].removesuffix(".py")
        # While no Python runs, the profiler's clock stands on the coroutine that was entered last.
        return "event loop, sockets, waiting" if (package, name) == ("uvicorn", "main") else package
    if path.startswith(str(ROOT)):
        return ".".join(Path(path).relative_to(ROOT).parts[:2]).removesuffix(".py")
    return "standard library"


def _label(function: Function) -> str:
    path, line, name = function
    if path == "~":
        return name
    short = path.partition("site-packages/")[2] or path.removeprefix(f"{ROOT}/")
    short = short.removeprefix(sysconfig.get_path("stdlib") + "/")
    return f"{short}:{line} {name}"
