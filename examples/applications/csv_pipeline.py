"""What a pipeline does with one CSV file of readings. It knows no Erlang."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path


def days(path: str) -> dict[str, tuple[int, float]]:
    """How many readings each day has, and their sum. Raises ValueError or KeyError for a file that is damaged."""
    found: dict[str, tuple[int, float]] = {}
    with Path(path).open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            try:
                day = datetime.date.fromisoformat(row["day"]).isoformat()
                count, total = found.get(day, (0, 0.0))
                found[day] = (count + 1, total + float(row["kwh"]))
            except (ValueError, TypeError) as error:
                raise ValueError(f"line {line}: {error}") from None
    return found
