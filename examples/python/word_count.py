"""The words of a text, counted where its parts are read, and added up by word.

    python examples/python/word_count.py [FILE ...]

By default those of this program's licence.
"""

import os
import re
import sys
from pathlib import Path

from erl.dataflow import Environment

LICENSE = Path(__file__).parents[2] / "LICENSE"
BLOCK_BYTES = 2_000


def blocks(path):
    """Where the parts of a file begin and end; what is in them is the workers' to read."""
    size = os.path.getsize(path)
    return [(str(path), start, min(start + BLOCK_BYTES, size)) for start in range(0, size, BLOCK_BYTES)]


def lines(block):
    """The lines that begin in this part."""
    path, start, end = block
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()
        while file.tell() < end:
            line = file.readline()
            if not line:
                break
            yield line.decode()


def words(line):
    return [(word.lower(), 1) for word in re.findall(r"[^\W\d_]+", line)]


def main():
    parts = [block for path in sys.argv[1:] or [LICENSE] for block in blocks(path)]
    with Environment(resources=[{"cpu": 2, "ram": 1024, "instances": 1}]) as env:
        counted = (
            env.parallelize_list(parts, 4).flat_map(lines).flat_map(words).keyed_reduce(lambda x, y: x + y)
        )
        counts = counted.cache()

        # Each partition has other words, and gives its best ones only.
        best = counts.compute(lambda pairs: sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:5])
        five = best.reduce(lambda one, other: sorted(one + other, key=lambda pair: (-pair[1], pair[0]))[:5])
        different = counts.compute(lambda pairs: sum(1 for _ in pairs)).reduce(lambda x, y: x + y)
        print(f"{different.get_data().get_partition(0).first()} words, most of all:")
        for word, count in five.get_data().get_partition(0).first():
            print(f"{count:5} {word}")
        counted.explain()


if __name__ == "__main__":
    main()
