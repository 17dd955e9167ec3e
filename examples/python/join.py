"""The daylight of a year by city, joined with where the cities are: also where one side knows nothing.

python examples/python/join.py
"""

import csv
from pathlib import Path

from erl.dataflow import Environment

DAYLIGHT = Path(__file__).parents[1] / "data" / "daylight.csv"
LATITUDES = {"Athens": 38.0, "Nairobi": -1.3, "Stockholm": 59.3, "Quito": -0.2}


def rows(path):
    """The city and the minutes of daylight of each day."""
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            yield row["city"], float(row["daylight_minutes"])


def longest(days):
    """Of a city and its days: the longest and the shortest one."""
    city, minutes = days
    return city, (max(minutes), min(minutes))


def told(pair):
    city, (days, latitude) = pair
    most, least = ("?", "?") if days is None else (f"{days[0]:.0f}", f"{days[1]:.0f}")
    where = "?" if latitude is None else f"{latitude:.1f}"
    return f"{city:<10} {where:>6} {most:>5} {least:>5}"


def main():
    with Environment(resources=[{"cpu": 2, "ram": 1024, "instances": 1}]) as env:
        days = env.parallelize_list([str(DAYLIGHT)], 1).flat_map(rows).keyed_gather().map(longest)
        latitudes = env.parallelize_dict(LATITUDES, 2)
        for how in ("inner", "outer"):
            print(f"{how:<10} {'north':>6} {'most':>5} {'least':>5}")
            joined = days.join(latitudes, how).map(told)
            for line in sorted(
                line for part in joined.get_data().get_partitions() for line in part.consumer()
            ):
                print(line)


if __name__ == "__main__":
    main()
