"""Fails unless tests take every line and branch of the decisions and values: idp/protocol and idp/domain."""

import json
import sys
from pathlib import Path

FLOORED = ("idp/protocol/", "idp/domain/")


def gaps(report: dict) -> list[str]:
    """Return one line for each floored module with a line or branch that no test took."""
    lines = []
    for path, module in sorted(report["files"].items()):
        if path.startswith(FLOORED) and (module["missing_lines"] or module["missing_branches"]):
            branches = [f"{start}→{end if end > 0 else 'exit'}" for start, end in module["missing_branches"]]
            lines.append(f"{path}: lines {module['missing_lines']}, branches {branches}")
    return lines


def main() -> None:
    report = json.loads(Path(sys.argv[1]).read_text())
    if unknown := [package for package in FLOORED if not any(path.startswith(package) for path in report["files"])]:
        sys.exit(f"The coverage report holds nothing of {' and '.join(unknown)}: was the suite run from the checkout?")
    if missing := gaps(report):
        sys.exit("These modules must be covered to the last branch:\n  " + "\n  ".join(missing))
    print(f"Coverage: {report['totals']['percent_covered']:.1f} % in all, 100 % of {' and '.join(FLOORED)}")


if __name__ == "__main__":
    main()
