"""One side of bench/compute: LiberTEM on one of its executors, or on a pool, in a process of its own.

    PYTHON side.py pool|dask|threads|inline FILE

Prints a sample for each kind of work, as JSON. FILE has 512 MB of float32.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from typing import Any

from compute_work import Task

NOT_INSTALLED = 3
WORKERS = 2
TASKS = 400
RUNS = 5
SHAPE = (64, 64, 128, 256)
CANCEL_TASKS, CANCEL_SECONDS, CANCEL_AFTER_SECONDS = 20, 5.0, 0.3


def made(side: str) -> Any:
    """The executor, over two workers."""
    if side == "pool":
        from erl.compute.libertem import PoolJobExecutor

        return PoolJobExecutor.make_local(cpus=WORKERS, gpus=0)
    if side == "dask":
        from libertem.executor.dask import DaskJobExecutor, cluster_spec

        return DaskJobExecutor.make_local(spec=cluster_spec(cpus=WORKERS, cudas=0, has_cupy=False))
    if side == "threads":
        from libertem.executor.concurrent import ConcurrentJobExecutor

        return ConcurrentJobExecutor.make_local(n_threads=WORKERS)
    from libertem.executor.inline import InlineJobExecutor

    return InlineJobExecutor()


def tell(side: str, work: str, unit: str, value: float) -> None:
    print(json.dumps({"work": work, "side": side, "unit": unit, "value": value}), flush=True)


def run(executor: Any, tasks: list[Task], id_: str) -> None:
    from libertem.common.executor import TaskCommHandler

    with executor.scatter(None) as handle:
        for _ in executor.run_tasks(tasks, handle, id_, TaskCommHandler()):
            pass


def cancelled(executor: Any, side: str) -> None:
    from libertem.common.executor import JobCancelledError

    times = []

    def cancel() -> None:
        times.append(time.perf_counter())
        executor.cancel("long")

    timer = threading.Timer(CANCEL_AFTER_SECONDS, cancel)
    timer.start()
    try:
        run(executor, [Task(CANCEL_SECONDS) for _ in range(CANCEL_TASKS)], "long")
    except Exception as error:  # threads say it with an error of the standard library's
        if not isinstance(error, JobCancelledError) and "Cancelled" not in type(error).__name__:
            raise
    left = time.perf_counter()
    timer.join()
    tell(side, "20 tasks of 5 s cancelled after 0.3 s, until they are left", "ms", (left - times[0]) * 1000)
    run(executor, [Task()], "next")
    tell(side, "the next task after that", "ms", (time.perf_counter() - left) * 1000)


def main(side: str, path: str) -> None:
    try:
        import libertem.api as lt
        from libertem.udf.sum import SumUDF
    except ImportError as error:
        print(f"no LiberTEM here: {error}", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    begun = time.perf_counter()
    executor = made(side)
    executor.run_function(abs, -1)
    if side != "inline":
        tell(side, "start, to the first result", "ms", (time.perf_counter() - begun) * 1000)
    context = lt.Context(executor=executor)
    data = context.load("raw", path=path, dtype="float32", nav_shape=SHAPE[:2], sig_shape=SHAPE[2:])
    context.run_udf(data, SumUDF())  # loads and compiles
    run(executor, [Task() for _ in range(8)], "warm")
    sums, tasks = [], []
    for _ in range(RUNS):
        before = time.perf_counter()
        context.run_udf(data, SumUDF())
        sums.append(time.perf_counter() - before)
        before = time.perf_counter()
        run(executor, [Task() for _ in range(TASKS)], "tasks")
        tasks.append((time.perf_counter() - before) / TASKS)
    tell(side, "sum of 512 MB", "ms", statistics.median(sums) * 1000)
    tell(side, "a task that does nothing", "us", statistics.median(tasks) * 1e6)
    if side != "inline":
        cancelled(executor, side)
    executor.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
