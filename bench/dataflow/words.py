"""The words of a text counted by one of those that can do it: seconds, as a line of JSON.

    python bench/dataflow/words.py SIDE FILE [one by one]

SIDE is `ours` (`flat_map`, `keyed_reduce`) or `dask` (a `dask.bag`). Both have two workers, which are there before the
clock starts, and blocks of `BLOCK_BYTES`. A block's words are counted where it is read (dask's `frequencies`), or each
word is a pair of its own, folded by its key (dask's `foldby`).
"""

from __future__ import annotations

import itertools
import json
import operator
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS, BLOCK_BYTES = 2, 4 << 20


def made(path: Path, size: int) -> None:
    """A text of so many bytes: few words that come often, and many that come seldom, as in texts."""
    import random

    chance = random.Random(16)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    words = [
        "".join(chance.choices(letters, range(26, 0, -1), k=chance.randint(2, 10))) for _ in range(50_000)
    ]
    often = list(itertools.accumulate(1 / number for number in range(1, len(words) + 1)))
    block = "".join(" ".join(chance.choices(words, cum_weights=often, k=12)) + "\n" for _ in range(50_000))
    with open(path, "w") as file:
        while file.tell() < size:
            file.write(block[: max(1, size - file.tell())])


def lines(block: tuple[str, int, int]) -> Iterator[str]:
    """The lines that begin in a block of a file."""
    name, start, end = block
    with open(name, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()
        while file.tell() < end:
            line = file.readline()
            if not line:
                return
            yield line.decode()


def pairs(line: str) -> list[tuple[str, int]]:
    return [(word, 1) for word in line.split()]


def counted(block: tuple[str, int, int]) -> Any:
    found: Counter[str] = Counter()
    for line in lines(block):
        found.update(line.split())
    return found.items()


def counts(so_far: int, _: str) -> int:
    return so_far + 1


def itself(word: str) -> str:
    return word


def ours(name: str, is_one_by_one: bool) -> tuple[float, dict[str, int]]:
    from erl.dataflow import Environment

    with Environment(resources=[{"cpu": WORKERS, "ram": 2048, "instances": 1}]) as env:
        env.parallelize_list([0] * 8, 8).map(abs).run()
        begun = time.perf_counter()
        size = os.path.getsize(name)
        blocks = [(name, at, min(at + BLOCK_BYTES, size)) for at in range(0, size, BLOCK_BYTES)]
        parts = env.parallelize_list(blocks, len(blocks))
        each = parts.flat_map(lines).flat_map(pairs) if is_one_by_one else parts.flat_map(counted)
        partitions = each.keyed_reduce(operator.add).get_data().get_partitions()
        found = dict(pair for part in partitions for pair in part.consumer())
        return time.perf_counter() - begun, found


def dask(name: str, is_one_by_one: bool) -> tuple[float, dict[str, int]]:
    import multiprocessing

    import dask as settings
    from dask import bag

    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool, settings.config.set(pool=pool):
        bag.from_sequence(range(8), npartitions=8).map(abs).compute(scheduler="processes")
        begun = time.perf_counter()
        each = bag.read_text(name, blocksize=BLOCK_BYTES).str.split().flatten()
        every = each.foldby(itself, counts, 0, operator.add, 0) if is_one_by_one else each.frequencies()
        found: Any = dict(every.compute(scheduler="processes"))
        return time.perf_counter() - begun, found


def main() -> None:
    side, name = sys.argv[1:3]
    is_one_by_one = sys.argv[3:] == ["one by one"]
    try:
        seconds, found = {"ours": ours, "dask": dask}[side](name, is_one_by_one)
    except ImportError as error:
        print(f"{side} is not installed: {error}", file=sys.stderr)
        sys.exit(3)
    megabytes = round(os.path.getsize(name) / 1e6)
    work = f"words of {megabytes} MB{', one by one' if is_one_by_one else ''}"
    sums = [len(found), sum(found.values())]
    print(json.dumps({"work": work, "side": side, "unit": "s", "value": seconds, "found": sums}))


if __name__ == "__main__":
    main()
