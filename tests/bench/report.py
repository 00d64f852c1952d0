"""The table for people and the JSON for machines."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rows import Row, Sample


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a row: its pairs of measurements, or why there are none."""

    row: Row
    pairs: Sequence[tuple[Sample, Sample]] = ()
    error: str | None = None

    @property
    def ratios(self) -> list[float]:
        """Ours through the other's, round by round."""
        return [ours.value / other.value for ours, other in self.pairs]

    @property
    def verdict(self) -> str:
        """Whether the median ratio reaches the target and the aim, where there are any."""
        if self.error is not None:
            return "ERROR"
        row, ratio = self.row, statistics.median(self.ratios)
        if row.target is None:
            return ""
        if ratio > row.target if row.lower_is_better else ratio < row.target:
            return "MISS"
        return "ok, below aim" if row.aim is not None and ratio < row.aim else "ok"

    def medians(self) -> tuple[float, float]:
        """The middle of our figures and of the other's."""
        return tuple(statistics.median(sample.value for sample in samples) for samples in zip(*self.pairs, strict=True))

    def as_json(self) -> dict[str, Any]:
        """The row with every round of it."""
        row = self.row
        head = {"name": row.name, "title": row.title, "unit": row.unit, "against": row.other, "target": row.target}
        if row.aim is not None:
            head["aim"] = row.aim
        if self.error is not None:
            return head | {"verdict": self.verdict, "error": self.error}
        ours, other = self.medians()
        return head | {
            "ours": ours,
            "other": other,
            "ratio": {
                "median": statistics.median(self.ratios),
                "min": min(self.ratios),
                "max": max(self.ratios),
            },
            "verdict": self.verdict,
            "rounds": [{"ours": asdict(ours), "other": asdict(other)} for ours, other in self.pairs],
        }


def table(results: Sequence[Result], differences: dict[str, dict[str, list[str]]]) -> str:
    """The report, a Markdown table that can go into docs/performance.md as it is."""
    lines = [
        "| | Lab ID | the other | | ratio (min – max) | target | |",
        "|---|--:|--:|---|---|---|---|",
    ]
    for result in results:
        row = result.row
        target = "–"
        if row.target is not None:
            target = f"{'≤' if row.lower_is_better else '≥'} {row.target}" + (f", aim {row.aim}" if row.aim else "")
        if result.error is not None:
            lines.append(f"| {row.title} | | | {row.other} | | {target} | ERROR |")
            continue
        ours, other = result.medians()
        ratios = result.ratios
        spread = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} – {max(ratios):.2f})"
        lines.append(
            f"| {row.title} | {_figure(ours)} | {_figure(other)} | {row.unit}, {row.other} | {spread} "
            f"| {target} | {result.verdict} |"
        )
    for result in results:
        if result.error is not None:
            lines += ["", f"{result.row.name}: {result.error}"]
    for name, difference in differences.items():
        told = [f"{side} {', '.join(members)}" for side, members in difference.items() if members]
        lines += ["", f"Answers to {name}: {'; '.join(told)}."] if told else []
    return "\n".join(lines)


def save(path: Path, document: dict[str, Any]) -> None:
    """Write the JSON."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
