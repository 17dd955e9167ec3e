"""multiprocessing.Pool doing what the benchmark has two workers do: the sums of the halves of a large array.

Prints milliseconds: with the halves pickled into the pool's pipes, and with the array copied into shared memory first.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

_WORKERS = 2


def total(part: Any) -> float:
    """The sum of what was sent."""
    return float(part.sum())


def total_there(name: str, first: int, last: int) -> float:
    """The sum of a part of what is in shared memory."""
    memory = SharedMemory(name)
    try:
        return float(np.frombuffer(memory.buf, "<f8")[first:last].sum())
    finally:
        memory.close()


def pickled(pool: Any, array: Any) -> float:
    half = len(array) // _WORKERS
    return sum(pool.map(total, [array[:half], array[half:]], chunksize=1))


def shared(pool: Any, array: Any) -> float:
    half = len(array) // _WORKERS
    memory = SharedMemory(create=True, size=array.nbytes)
    try:
        np.frombuffer(memory.buf, "<f8")[:] = array
        return sum(
            pool.starmap(total_there, [(memory.name, 0, half), (memory.name, half, len(array))], chunksize=1)
        )
    finally:
        memory.close()
        memory.unlink()


def main() -> None:
    array = np.ones(int(sys.argv[1]), "<f8")
    with multiprocessing.get_context("spawn").Pool(_WORKERS) as pool:
        pool.map(total, [array[:1]] * 8, chunksize=1)  # until both have imported numpy
        ways: list[Callable[[Any, Any], float]] = [pickled, shared]
        for way in ways:
            start = time.perf_counter()
            assert way(pool, array) == len(array)
            print(f"{(time.perf_counter() - start) * 1000:.3f}", flush=True)


if __name__ == "__main__":
    main()
