"""Prints the table of bench/peers/run from its samples: the median of the rounds."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict

WORKS = {"one": "one at a time, us", "hundred": "100 open, calls/s", "megabyte": "1 MB both ways, ms"}


def main() -> None:
    """Print a row for each peer; what could not be measured, with the reason."""
    values: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    missing: dict[str, str] = {}
    with open(sys.argv[1], encoding="utf-8") as samples:
        for sample in map(json.loads, samples):
            if "missing" in sample:
                missing[sample["peer"]] = sample["missing"]
            else:
                values[sample["peer"], sample["work"]].append(sample["value"])
    print(f"{'two workers':24}" + "".join(f"{title:>22}" for title in WORKS.values()))
    for peer in dict.fromkeys(peer for peer, _ in values):
        cells = [statistics.median(found) if (found := values[peer, work]) else None for work in WORKS]
        print(f"{peer:24}" + "".join(f"{'-' if cell is None else f'{cell:,.1f}':>22}" for cell in cells))
    for peer, reason in missing.items():
        print(f"{peer:24}  not measured: {reason}")


if __name__ == "__main__":
    main()
