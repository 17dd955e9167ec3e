"""Sunrise, sunset and the length of each day of 2024 in four cities: the data of the tour, and what it does with them.

`data/daylight.csv` is made by `python daylight.py` from the formulas of the NOAA Global Monitoring Laboratory's solar
calculator ("General Solar Position Calculations": the Fourier series for the equation of time and the sun's
declination, a zenith of 90.833 degrees for sunrise and sunset). Times are minutes after midnight UTC. The file is in
the public domain (CC0).
"""

from __future__ import annotations

import csv
import math
import os
import sqlite3
import statistics
import time
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from erl import Pid

DATA = Path(__file__).with_name("data") / "daylight.csv"
CITIES = {
    "Nairobi": (-1.286, 36.817),
    "Athens": (37.984, 23.728),
    "Stockholm": (59.329, 18.069),
    "Wellington": (-41.287, 174.776),
}


def rows() -> list[dict[str, str]]:
    """The lines of the file."""
    with DATA.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def minutes(city: str) -> list[float]:
    """The length of each day of the year in a city, in minutes."""
    return [float(row["daylight_minutes"]) for row in rows() if row["city"] == city]


def summary(city: str) -> dict[str, float]:
    """Mean, standard deviation, shortest and longest day, in minutes."""
    values = minutes(city)
    return {
        "days": len(values),
        "mean": round(statistics.fmean(values), 2),
        "stdev": round(statistics.stdev(values), 2),
        "shortest": min(values),
        "longest": max(values),
    }


def query(sql: str) -> list[tuple[object, ...]]:
    """The answer to a query over the table `daylight`, by sqlite3."""
    with sqlite3.connect(":memory:") as db:
        db.execute("create table daylight (date text, city text, sunrise real, sunset real, minutes real)")
        db.executemany("insert into daylight values (?, ?, ?, ?, ?)", [tuple(row.values()) for row in rows()])
        return db.execute(sql).fetchall()


def longest_day(city: str) -> date:
    """The date of the longest day."""
    best = max((row for row in rows() if row["city"] == city), key=lambda row: float(row["daylight_minutes"]))
    return date.fromisoformat(best["date"])


def fit(city: str) -> dict[str, float]:
    """Least squares with numpy: minutes = mean + amplitude * cos(2 pi (day - peak) / 365.25)."""
    import numpy as np

    values = np.array(minutes(city))
    angle = 2 * np.pi * np.arange(1, len(values) + 1) / 365.25
    design = np.column_stack([np.ones_like(angle), np.cos(angle), np.sin(angle)])
    (mean, cosine, sine), *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ (mean, cosine, sine)
    return {
        "mean": round(float(mean), 2),
        "amplitude": round(float(np.hypot(cosine, sine)), 2),
        "peak_day": round(float(np.arctan2(sine, cosine) % (2 * np.pi) * 365.25 / (2 * np.pi)), 1),
        "rms_error": round(float(np.sqrt(np.mean(residual**2))), 2),
    }


def profile(city: str) -> tuple[str, int, float]:
    """The city, the process that did the work, and how fast the days grow at most, in minutes a day."""
    values = minutes(city)
    growth = max(later - earlier for earlier, later in pairwise(values))
    return city, os.getpid(), round(growth, 2)


def nap(observer: Pid, seconds: float) -> None:
    """Tell a process of Erlang that it has begun, and sleep."""
    import erl

    erl.cast(observer, erl.Atom("napping"))
    time.sleep(seconds)


def make() -> None:
    """Write the file."""
    DATA.parent.mkdir(exist_ok=True)
    with DATA.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["date", "city", "sunrise_utc_minutes", "sunset_utc_minutes", "daylight_minutes"])
        for city, (latitude, longitude) in CITIES.items():
            for number in range(1, 367):
                sunrise, sunset = _sun(number, latitude, longitude)
                day = date(2024, 1, 1) + timedelta(days=number - 1)
                writer.writerow([day, city, f"{sunrise:.1f}", f"{sunset:.1f}", f"{sunset - sunrise:.1f}"])


def _sun(number: int, latitude: float, longitude: float) -> tuple[float, float]:
    gamma = 2 * math.pi / 366 * (number - 1)
    equation_of_time = 229.18 * (
        0.000075
        + 0.001868 * math.cos(gamma)
        - 0.032077 * math.sin(gamma)
        - 0.014615 * math.cos(2 * gamma)
        - 0.040849 * math.sin(2 * gamma)
    )
    declination = (
        0.006918
        - 0.399912 * math.cos(gamma)
        + 0.070257 * math.sin(gamma)
        - 0.006758 * math.cos(2 * gamma)
        + 0.000907 * math.sin(2 * gamma)
        - 0.002697 * math.cos(3 * gamma)
        + 0.00148 * math.sin(3 * gamma)
    )
    phi = math.radians(latitude)
    hour_angle = math.degrees(
        math.acos(
            math.cos(math.radians(90.833)) / (math.cos(phi) * math.cos(declination))
            - math.tan(phi) * math.tan(declination)
        )
    )
    noon = 720 - 4 * longitude - equation_of_time
    return noon - 4 * hour_angle, noon + 4 * hour_angle


if __name__ == "__main__":
    make()
