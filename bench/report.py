"""Reads what bench/run prints, and makes a table of ratios, a JSON file and a picture of it.

usage: bench/run PYTHON | python bench/report.py [--results FILE.json] [--svg FILE.svg] [--base SAMPLES]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

# Work: the side of ours that the budget is for, and the most (times) or least (rates) that it may be of the floor.
BUDGETS: dict[str, float] = {
    "tiny call": 1.25,
    "16 callers, 1 worker": 0.80,
    "100 callers, 1 worker": 0.60,
    "1000 callers, 1 worker": 0.85,
    "100,000 integers": 2.2,
    "100,000 floats": 2.2,
    "10,000 maps of 5 keys": 2.5,
    "64 MB binary": 1.3,
    "start to first call": 4.0,
    "1,000,000 tiny items": 10.0,
    "pmap of CPU-bound items": 1.8,
    "100 callers, 40 threads, 5 ms of sleep": 0.80,
}
# Sides that the others are compared with, or that are shown beside the floor.
NO_BUDGET = ("floor", "C echo")
# The bars of the picture are the rows of README's table.
SHOWN = (
    "16 callers, 1 worker",
    "100 callers, 1 worker",
    "100 callers, 2 workers",
    "100,000 integers",
    "10,000 maps of 5 keys",
    "64 MB binary",
    "start to first call",
    "memory of an idle worker",
)
MEMORY_BUDGET_MB = 14.0
STREAM_BUDGET = 200_000  # items a second, at least
MOST_SLOWER = 1.05  # times of a base's time that a row may take

Samples = dict[str, dict[str, list[float]]]


def read(lines: Any) -> tuple[Samples, dict[str, str]]:
    """Samples by work and side, in order of appearance, and each work's unit."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    units: dict[str, str] = {}
    for line in lines:
        sample = json.loads(line)
        samples[sample["work"]][sample["side"]].append(sample["value"])
        units[sample["work"]] = sample["unit"]
    return samples, units


def spread(values: list[float]) -> str:
    """Half the range between the quartiles, in percent of the median."""
    if len(values) < 4:
        return ""
    first, median, third = statistics.quantiles(values, n=4)
    return f"±{50 * (third - first) / median:.0f} %"


def number(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:,.0f} k"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(sides: dict[str, list[float]], side: str) -> float | None:
    """Median of a side by median of the floor, or of the first side where there is no floor."""
    base = sides.get("floor") or next(iter(sides.values()))
    if base is sides[side]:
        return None
    return statistics.median(sides[side]) / statistics.median(base)


def verdict(work: str, unit: str, value: float | None, median: float) -> str:
    if work == "memory of an idle worker":
        return f"{'within' if median <= MEMORY_BUDGET_MB else 'over'} {MEMORY_BUDGET_MB:g} MB"
    if unit == "items/s":
        return f"{'within' if median >= STREAM_BUDGET else 'under'} {STREAM_BUDGET // 1000} k"
    if work not in BUDGETS or value is None:
        return ""
    limit = BUDGETS[work]
    kept = value >= limit if is_rate(unit) else value <= limit
    return f"{'within' if kept else 'under' if is_rate(unit) else 'over'} {limit:g}"


def is_rate(unit: str) -> bool:
    return unit.endswith("/s")


def beside(values: list[float], base: list[float], unit: str) -> str:
    """How many times a base's time this takes: the median and the quartiles of the pairs of rounds."""
    pairs = [b / v if is_rate(unit) else v / b for v, b in zip(values, base, strict=False) if v and b]
    if not pairs:
        return ""
    median = statistics.median(pairs)
    low, high = (min(pairs), max(pairs)) if len(pairs) < 4 else statistics.quantiles(pairs, n=4)[::2]
    return f"  {median:.2f} of base ({low:.2f}-{high:.2f}){'  slower' if median > MOST_SLOWER else ''}"


def table(samples: Samples, units: dict[str, str], base: Samples) -> str:
    head = f"{'work':<32} {'side':<10} {'median':>9} {'unit':<8} {'spread':>7} {'ratio':>6}  budget"
    lines = [head, "-" * len(head)]
    for work, sides in samples.items():
        for side, values in sides.items():
            median = statistics.median(values)
            relative = ratio(sides, side)
            lines.append(
                f"{work:<32} {side:<10} {number(median):>9} {units[work]:<8} {spread(values):>7} "
                f"{'' if relative is None else f'{relative:.2f}':>6}  "
                f"{verdict(work, units[work], relative, median) if side not in NO_BUDGET else ''}"
                + beside(values, base.get(work, {}).get(side, []), units[work])
            )
    return "\n".join(lines)


def machine() -> str:
    """What was measured on: cores and versions."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def svg(samples: Samples, units: dict[str, str]) -> str:
    """A bar for each row of README's: how many times the floor's time it takes (of a rate: the floor's by ours)."""
    bars = []
    for work, sides in samples.items():
        if work in SHOWN and "floor" in sides:
            value = ratio(sides, "py:func")
            assert value is not None
            bars.append((work, 1 / value if is_rate(units[work]) else value))
    row, left, width = 26, 230, 420
    most = max(4.0, *(value for _, value in bars))
    unit = width / most
    height = row * len(bars) + 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 70}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<text x="10" y="22" font-size="15" fill="#222">py:func in times of a bare Python echo</text>',
        '<rect x="10" y="34" width="12" height="12" fill="#3b6ea5"/>',
        '<text x="28" y="45" fill="#222">py:func; shorter is better</text>',
        '<line x1="230" y1="40" x2="254" y2="40" stroke="#c0392b" stroke-dasharray="4 3"/>',
        '<text x="262" y="45" fill="#222">the floor: what a pipe and an interpreter take at least</text>',
    ]
    for index, (work, value) in enumerate(bars):
        y = 60 + index * row
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end" fill="#222">{work}</text>')
        parts.append(
            f'<rect x="{left}" y="{y + 3}" width="{value * unit:.1f}" height="{row - 8}" fill="#3b6ea5"/>'
        )
        parts.append(f'<text x="{left + value * unit + 6:.1f}" y="{y + 15}" fill="#222">{value:.2f}</text>')
    floor = left + unit
    parts.append(
        f'<line x1="{floor:.1f}" y1="56" x2="{floor:.1f}" y2="{height - 26}" stroke="#c0392b" stroke-dasharray="4 3"/>'
    )
    parts.append(f'<text x="{floor + 4:.1f}" y="{height - 10}" fill="#c0392b">1.0</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--results", type=Path)
    arguments.add_argument("--svg", type=Path)
    arguments.add_argument("--base", type=Path)
    chosen = arguments.parse_args()
    samples, units = read(sys.stdin)
    if not samples:
        sys.exit("bench/run printed nothing")
    base = read(chosen.base.read_text(encoding="utf-8").splitlines())[0] if chosen.base else {}
    print(machine())
    print(table(samples, units, base))
    if chosen.results:
        medians = {
            work: {side: statistics.median(v) for side, v in sides.items()} for work, sides in samples.items()
        }
        chosen.results.parent.mkdir(parents=True, exist_ok=True)
        result = {"machine": machine(), "units": units, "medians": medians, "samples": samples}
        chosen.results.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if chosen.svg:
        chosen.svg.write_text(svg(samples, units), encoding="utf-8")


if __name__ == "__main__":
    main()
