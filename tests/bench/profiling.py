"""Where our server's time goes in one row: cProfile around the whole server while wrk drives it."""

import dataclasses
import pstats
import re
import signal
from collections import defaultdict
from pathlib import Path

from machine import ROOT, BenchError
from rows import WARM_UP_SECONDS, Bench
from servers import Server

TOP = 30


def profile(bench: Bench, name: str) -> str:
    """Run the row against a profiled server; return the shares of its packages and its dearest functions."""
    output = bench.workspace / "profile.pstats"
    plain = bench.ours
    plain.stop()
    python, *arguments = plain.contestant.command
    command = (python, "-m", "cProfile", "-o", str(output), *arguments)
    server = Server(dataclasses.replace(plain.contestant, command=command))
    bench.stack.callback(server.stop)
    server.start()
    bench.measure(server, name, WARM_UP_SECONDS)
    sample = bench.measure(server, name)
    # The interrupt unwinds the interpreter, so that cProfile writes what it has.
    server.stop(signal.SIGINT)
    if not output.exists():
        raise BenchError(f"the profiled server left no profile:\n{server.log.read_text(errors='replace')[-2000:]}")
    stats = pstats.Stats(str(output)).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    shares: defaultdict[str, float] = defaultdict(float)
    for function, (_, _, own, _, _) in stats.items():
        shares[_package(function)] += own
    lines = [f"{name} under cProfile: {sample.value:.0f} per CPU-s; seconds of its own code, {total:.1f} in all", ""]
    lines += [f"{own / total:6.1%}  {package}" for package, own in sorted(shares.items(), key=lambda x: -x[1])[:20]]
    lines += ["", "  share    calls  function"]
    dearest = sorted(stats.items(), key=lambda item: -item[1][2])[:TOP]
    lines += [f"{own / total:6.1%} {calls:9d}  {_label(function)}" for function, (_, calls, own, _, _) in dearest]
    return "\n".join(lines)


def _package(function: tuple[str, int, str]) -> str:
    path, _, name = function
    if path == "~":
        owner = re.search(r"'?(?:of|method) '?([\w.]+)", name)
        return f"C: {owner.group(1).rpartition('.')[0] or owner.group(1)}" if owner else "C"
    if "site-packages/" in path:
        return path.partition("site-packages/")[2].split("/")[0].removesuffix(".py")
    if path.startswith(str(ROOT)):
        return ".".join(Path(path).relative_to(ROOT).parts[:2]).removesuffix(".py")
    return "standard library"


def _label(function: tuple[str, int, str]) -> str:
    path, line, name = function
    if path == "~":
        return name
    short = path.partition("site-packages/")[2] or path.removeprefix(f"{ROOT}/")
    return f"{short}:{line} {name}"
