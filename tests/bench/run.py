"""The benchmark: Lab ID and npm oidc-provider, one core each in turn, in requests per second of processor time.

    make bench                              everything, about a quarter of an hour
    make bench ARGS="--quick"               one short round, to see that it works
    make bench ARGS="--only jwks,refresh"   some rows
    make bench ARGS="--profile refresh"     where our time goes in a row

Prints a table and writes var/bench/latest.json. What misses its target is reported and is no failure; what could not
be measured is one.
"""

import argparse
import os
import shlex
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from machine import LOAD_CORE, VAR, BenchError, check_prerequisites, versions
from profiling import STARTUP, profile
from report import Result, save, table
from rows import PEER, ROWS, Bench, Row
from shots import SHOTS


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    arguments = parse(sys.argv[1:])
    # So that whatever is started also ends when the benchmark itself is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        check_prerequisites()
        VAR.mkdir(parents=True, exist_ok=True)
        # wrk and PostgreSQL inherit this core; the servers get the other one.
        os.sched_setaffinity(0, {LOAD_CORE})
        with ExitStack() as stack:
            workspace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=VAR)))
            bench = Bench(
                stack,
                workspace,
                rounds=arguments.rounds,
                seconds=arguments.seconds,
                connections=arguments.connections,
            )
            if arguments.profile:
                print(profile(bench, arguments.profile))
                return 0
            return compare(bench, arguments.only)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def compare(bench: Bench, rows: list[Row]) -> int:
    """Measure the rows, print the table, write the JSON."""
    started = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    # What does not even start is said once, not once per row.
    _ = bench.ours, any(row.other == PEER for row in rows) and bench.peer
    results = [measured(bench, row) for row in rows]
    print(table(results, bench.differences))
    save(
        VAR / "latest.json",
        {
            "started": started,
            "command": shlex.join(["python", *sys.argv]),
            "settings": {"rounds": bench.rounds, "seconds": bench.seconds, "connections": bench.connections},
            "versions": versions() | {f"postgresql {name}": value for name, value in bench.postgres.settings.items()},
            "rows": [result.as_json() for result in results],
            "answers": bench.differences,
        },
    )
    return 1 if any(result.error for result in results) else 0


def measured(bench: Bench, row: Row) -> Result:
    """Measure one row, round by round; an error ends the row, not the benchmark."""
    pairs = []
    try:
        for ours, other in row.rounds(bench):
            pairs.append((ours, other))
            print(f"{row.name}: {ours.value:.4g} / {other.value:.4g} = {ours.value / other.value:.3f}", file=sys.stderr)
    except BenchError as error:
        print(f"{row.name}: {error}", file=sys.stderr)
        return Result(row, error=str(error))
    return Result(row, pairs)


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    names = {row.name: row for row in ROWS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds per row (5)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds per run of wrk (4)")
    parser.add_argument("--connections", type=int, default=32, help="concurrent connections (32)")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--only", default=",".join(names), help=f"rows to measure: {', '.join(names)}")
    parser.add_argument("--profile", choices=[*SHOTS, STARTUP], help="profile our server instead")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.only.split(",") if name not in names]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    arguments.only = [names[name] for name in arguments.only.split(",")]
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 1
    return arguments


if __name__ == "__main__":
    sys.exit(main())
