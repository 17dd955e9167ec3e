"""One of those that run Python functions in two workers, measured alone: a line of JSON for each work.

    python bench/link/side.py SIDE

`bench/link/run` has them take turns. SIDE is one of `SIDES`; one that is not installed says so and ends with status 3.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import link_work as work

WORKERS = 2
SECONDS = 1.0
"""For a rate; the slow ones do less in it."""
ITEMS = 1_000_000
CHUNK = 10_000
"""For those whose map takes items one by one."""
SMALL, LARGE = 10 << 20, 256 << 20
SLEEPS = 600


class Erl:
    """`erl.futures.PoolExecutor` on a node of its own."""

    def __init__(self) -> None:
        import erl

        self.node = erl.start({"default": {"size": WORKERS}})
        self.executor = self.node.executor()
        self.submit = self.executor.submit

    def get(self, future: Any) -> Any:
        return future.result()

    def map(self, function: Any, items: Any) -> Any:
        return self.executor.map(function, items)

    def close(self) -> None:
        self.node.stop()


class Pool:
    """`multiprocessing.Pool`."""

    def __init__(self) -> None:
        import multiprocessing

        self.pool = multiprocessing.Pool(WORKERS)

    def submit(self, function: Any, *args: Any) -> Any:
        return self.pool.apply_async(function, args)

    def get(self, future: Any) -> Any:
        return future.get()

    def map(self, function: Any, items: Any) -> Any:
        return self.pool.map(function, items)

    def close(self) -> None:
        self.pool.terminate()


class ProcessPool:
    """`concurrent.futures.ProcessPoolExecutor`."""

    def __init__(self) -> None:
        self.executor = self.made()
        self.submit = self.executor.submit

    def made(self) -> Any:
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(WORKERS)

    def get(self, future: Any) -> Any:
        return future.result()

    def map(self, function: Any, items: Any) -> Any:
        return self.executor.map(function, items, chunksize=CHUNK)

    def close(self) -> None:
        self.executor.shutdown()


class Loky(ProcessPool):
    """loky's executor."""

    def made(self) -> Any:
        from loky import get_reusable_executor

        return get_reusable_executor(WORKERS)


class Chunks:
    """The map of those that have none for many items: chunks, by hand."""

    submit: Any

    def get(self, future: Any) -> Any:
        raise NotImplementedError

    def map(self, function: Any, items: Any) -> Any:
        chunks = [items[at : at + CHUNK] for at in range(0, len(items), CHUNK)]
        return [
            each
            for chunk in self.gather([self.submit(work.each, function, c) for c in chunks])
            for each in chunk
        ]

    def gather(self, futures: list[Any]) -> list[Any]:
        return [self.get(future) for future in futures]


class Dask(Chunks):
    """dask.distributed, two processes of one thread."""

    def __init__(self) -> None:
        import warnings

        from distributed import Client

        warnings.simplefilter("ignore")  # it advises against large arguments

        self.client = Client(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )

    def submit(self, function: Any, *args: Any) -> Any:
        return self.client.submit(function, *args, pure=False)

    def get(self, future: Any) -> Any:
        return future.result()

    def close(self) -> None:
        self.client.shutdown()


class Ray(Chunks):
    """ray, two processors."""

    def __init__(self) -> None:
        import ray

        self.ray = ray
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        self.remotes: dict[Any, Any] = {}

    def submit(self, function: Any, *args: Any) -> Any:
        remote = self.remotes.get(function)
        if remote is None:
            # A builtin is no function to it.
            remote = self.remotes[function] = self.ray.remote(lambda *args: function(*args))
        return remote.remote(*args)

    def get(self, future: Any) -> Any:
        return self.ray.get(future)

    def gather(self, futures: list[Any]) -> list[Any]:
        return self.ray.get(futures)

    def close(self) -> None:
        self.ray.shutdown()


class Cat:
    """The floor: futures and pickle over a socket to `cat`, no worker at all."""

    def __init__(self) -> None:
        self.link = work.Cat()

    def submit(self, function: Any, *args: Any) -> Any:
        return self.link.submit(function, args)

    def get(self, future: Any) -> Any:
        return future.result()

    def close(self) -> None:
        self.link.close()


SIDES = {
    "PoolExecutor": Erl,
    "Pool": Pool,
    "ProcessPool": ProcessPool,
    "loky": Loky,
    "dask": Dask,
    "ray": Ray,
    "cat": Cat,
}


def emit(what: str, unit: str, value: float) -> None:
    print(json.dumps({"work": what, "side": sys.argv[1], "unit": unit, "value": value}), flush=True)


def rate(side: Any, in_flight: int, function: Any, *args: Any, most: int = 1 << 30) -> float:
    """Tasks a second, with so many of them under way."""
    submit, get = side.submit, side.get
    futures = deque(submit(function, *args) for _ in range(in_flight))
    for _ in range(in_flight):
        get(futures.popleft())
    begun = time.perf_counter()
    end = begun + SECONDS
    count = in_flight
    futures.extend(submit(function, *args) for _ in range(in_flight))
    while count < most and (count % 50 or time.perf_counter() < end):
        get(futures.popleft())
        futures.append(submit(function, *args))
        count += 1
    for future in futures:
        get(future)
    return count / (time.perf_counter() - begun)


def took_ms(function: Any) -> float:
    begun = time.perf_counter()
    function()
    return (time.perf_counter() - begun) * 1000


def measure(side: Any) -> None:
    emit("1 in flight", "tasks/s", rate(side, 1, abs, -1))
    emit("100 in flight", "tasks/s", rate(side, 100, abs, -1))
    if isinstance(side, Cat):
        return
    emit("1 ms sleeps, 100 in flight", "tasks/s", rate(side, 100, time.sleep, 0.001, most=SLEEPS))

    def all_items() -> None:
        assert sum(1 for _ in side.map(abs, range(ITEMS))) == ITEMS

    emit("map of 1,000,000", "items/s", ITEMS / took_ms(all_items) * 1000)

    import numpy as np

    small, large = np.ones(SMALL // 8), np.ones(LARGE // 8)
    half = len(large) // 2
    for part in (large[:half], large[half:]):  # so that both workers have imported numpy
        side.get(side.submit(work.total, part[:1]))
    times = sorted(took_ms(lambda: side.get(side.submit(work.same, small))) for _ in range(5))
    emit("10 MB array there and back", "ms", times[2])

    def halves() -> None:
        assert sum(
            map(side.get, [side.submit(work.total, large[:half]), side.submit(work.total, large[half:])])
        )

    emit("256 MB in halves", "ms", sorted(took_ms(halves) for _ in range(3))[1])


def main() -> None:
    begun = time.perf_counter()
    try:
        side: Any = SIDES[sys.argv[1]]()
    except ImportError as error:
        print(f"{sys.argv[1]} is not installed: {error}", file=sys.stderr)
        sys.exit(3)
    try:
        for future in [side.submit(work.nap) for _ in range(WORKERS)]:
            side.get(future)
        if not isinstance(side, Cat):
            emit("start, to the first results", "ms", (time.perf_counter() - begun) * 1000)
        measure(side)
    finally:
        side.close()


if __name__ == "__main__":
    main()
