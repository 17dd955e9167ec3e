"""Makes a table, and a picture, of what bench/growth/run has measured.

usage: python bench/growth/report.py SAMPLES [--svg FILE.svg]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path

COLOURS = ("#3b6ea5", "#c0392b", "#27825a", "#8e5ea2", "#b07d12", "#555555")

Subjects = dict[str, dict[int, list[float]]]


def read(path: Path) -> Subjects:
    """Samples by subject and count, in order of appearance."""
    subjects: Subjects = defaultdict(lambda: defaultdict(list))
    for line in path.read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)
        subjects[sample["subject"]][sample["count"]].append(sample["value"])
    return subjects


def table(subjects: Subjects) -> str:
    """One row a count: the median, how far the samples are apart, and the cost beside that of the least count."""
    lines = ["| subject | count | cost of one | least to most | beside the first |", "|---|---|---|---|---|"]
    for subject, counts in subjects.items():
        first = statistics.median(next(iter(counts.values())))
        for count, values in counts.items():
            median = statistics.median(values)
            lines.append(
                f"| {subject} | {count:,} | {median:.4g} | {min(values):.4g} to {max(values):.4g} "
                f"| {median / first:.2f} |"
            )
    return "\n".join(lines)


def svg(subjects: Subjects) -> str:
    """The cost of one item beside that at the least count, over the count; both axes are logarithmic.

    What noise has made less than nothing is in the table alone.
    """
    left, top, width, height = 60, 50, 460, 300
    relative = {
        subject: [
            (count, ratio)
            for count, values in counts.items()
            if (ratio := statistics.median(values) / statistics.median(next(iter(counts.values())))) > 0
        ]
        for subject, counts in subjects.items()
    }
    most = max(10.0, *(value for points in relative.values() for _, value in points))
    least = min(0.1, *(value for points in relative.values() for _, value in points))
    counts = [count for points in relative.values() for count, _ in points]
    span = math.log(max(counts) / min(counts))

    def x(count: int) -> float:
        return left + width * math.log(count / min(counts)) / span

    def y(value: float) -> float:
        return top + height * (1 - math.log(value / least) / math.log(most / least))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 340}" height="{top + height + 60}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<text x="10" y="22" font-size="15" fill="#222">Cost of one, in times of its cost at the least count</text>',
    ]
    for exponent in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1):
        if least <= 10**exponent <= most:
            parts.append(
                f'<line x1="{left}" x2="{left + width}" y1="{y(10**exponent):.1f}" y2="{y(10**exponent):.1f}" '
                f'stroke="{"#999" if exponent == 0 else "#ddd"}"/>'
            )
            parts.append(
                f'<text x="{left - 8}" y="{y(10**exponent) + 4:.1f}" text-anchor="end" fill="#222">'
                f"{10.0**exponent:g}</text>"
            )
    for exponent in range(math.ceil(math.log10(min(counts))), math.floor(math.log10(max(counts))) + 1):
        parts.append(
            f'<text x="{x(10**exponent):.1f}" y="{top + height + 20}" text-anchor="middle" fill="#222">'
            f"{10**exponent:,}</text>"
        )
    for number, (subject, points) in enumerate(relative.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(
            f'<circle cx="{x(count):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>'
            for count, value in points
        )
        parts.append(
            f'<rect x="{left + width + 20}" y="{top + 24 * number}" width="12" height="12" fill="{colour}"/>'
        )
        parts.append(
            f'<text x="{left + width + 38}" y="{top + 24 * number + 11}" fill="#222">{subject}</text>'
        )
    parts.append(
        f'<text x="{left + width / 2}" y="{top + height + 44}" text-anchor="middle" fill="#222">how many</text>'
    )
    parts.append("</svg>\n")
    return "\n".join(parts)


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("samples", type=Path)
    arguments.add_argument("--svg", type=Path)
    chosen = arguments.parse_args()
    subjects = read(chosen.samples)
    if not subjects:
        raise SystemExit("bench/growth/run printed nothing")
    print(table(subjects))
    if chosen.svg:
        chosen.svg.write_text(svg(subjects), encoding="utf-8")


if __name__ == "__main__":
    main()
