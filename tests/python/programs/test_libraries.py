"""Libraries that take an executor, or a backend: joblib, dask, asyncio, tqdm. Each with real workers."""

from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
import time
from concurrent.futures import as_completed
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

from erl.errors import TaskTimeoutError, WorkerLostError
from erl.futures import PoolExecutor

if TYPE_CHECKING:
    import erl


def serving(node: erl.Node) -> set[int]:
    """The Pythons of the workers, when each has one that serves: a test before may have killed some."""
    found: set[int] = set()

    def all_serve() -> bool:
        workers = node.status()["pools"]["default"]["workers"]
        found.clear()
        found.update(each["os_pid"] for each in workers if each["state"] == "serving")
        return len(found) == 2

    eventually(all_serve)
    return found


# joblib


@pytest.fixture
def joblib(node: erl.Node) -> Any:
    return pytest.importorskip("joblib", reason="joblib is not installed: scripts/setup programs")


@pytest.mark.parametrize("first", ["joblib", "erl.futures"])
def test_joblib_knows_the_backend_whichever_is_imported_first(joblib: Any, first: str) -> None:
    other = {"joblib": "erl.futures", "erl.futures": "joblib"}[first]
    program = (
        # Who asks whether joblib is there changes nothing.
        f"import {first}\nfrom importlib.util import find_spec\nfind_spec('joblib')\n"
        f"import {other}\nimport joblib, sys\n"
        'with joblib.parallel_config(backend="erl"): print("known", "erl.futures.joblib" in sys.modules)\n'
        "print([each for each in sys.meta_path if 'joblib' in type(each).__module__])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert run.stdout.split("\n")[:2] == ["known True", "[]"], run.stderr


def test_joblib_runs_in_the_workers_in_order(joblib: Any, node: erl.Node) -> None:
    with joblib.parallel_config(backend="erl", node=node):
        assert joblib.Parallel()(joblib.delayed(math.sqrt)(each) for each in range(100)) == [
            math.sqrt(each) for each in range(100)
        ]
        pids = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(20))
        generated = joblib.Parallel(return_as="generator")(joblib.delayed(abs)(-each) for each in range(5))
        assert list(generated) == list(range(5))
    assert set(pids) <= serving(node)


def test_joblib_uses_as_many_workers_as_it_is_told_and_there_are(joblib: Any, node: erl.Node) -> None:
    with joblib.parallel_config(backend="erl", node=node):
        backend, _ = joblib.parallel.get_active_backend()
        asked = (-1, 1, 2, 100, None)
        assert [backend.effective_n_jobs(each) for each in asked] == [2, 1, 2, 2, 2]
        with pytest.raises(ValueError, match="n_jobs == 0"):
            backend.effective_n_jobs(0)


def test_a_failed_task_of_joblib_ends_those_that_run(joblib: Any, node: erl.Node) -> None:
    def work(number: int) -> None:
        if number == 0:
            raise KeyError(number)
        time.sleep(600)

    pids = serving(node)
    with joblib.parallel_config(backend="erl", node=node), pytest.raises(KeyError):
        joblib.Parallel(batch_size=1)(joblib.delayed(work)(each) for each in range(4))
    # Interrupted, not killed: the same workers are free.
    with joblib.parallel_config(backend="erl", node=node):
        assert set(joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(50))) <= pids


def test_a_death_costs_joblib_that_call_and_a_retry_repeats_it(
    joblib: Any, node: erl.Node, tmp_path: Any
) -> None:
    def dies_once(directory: str, number: int) -> int:
        try:
            os.close(os.open(os.path.join(directory, str(number)), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return number
        os._exit(3)

    with joblib.parallel_config(backend="erl", node=node, retries=1):
        run = joblib.Parallel(batch_size=1)
        assert run(joblib.delayed(dies_once)(str(tmp_path), each) for each in range(2)) == [0, 1]
    with joblib.parallel_config(backend="erl", node=node):
        with pytest.raises(WorkerLostError):
            joblib.Parallel(batch_size=1)(joblib.delayed(os._exit)(3) for _ in range(1))
        assert joblib.Parallel()(joblib.delayed(abs)(-1) for _ in range(3)) == [1, 1, 1]


def test_a_deadline_of_joblib_is_the_executors(joblib: Any, node: erl.Node) -> None:
    with joblib.parallel_config(backend="erl", node=node, timeout=0.3), pytest.raises(TaskTimeoutError):
        joblib.Parallel()(joblib.delayed(time.sleep)(600) for _ in range(1))


def test_a_parallel_within_a_task_of_joblib_ends(joblib: Any, node: erl.Node) -> None:
    def inner(number: int) -> int:
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-each) for each in range(number)))

    with joblib.parallel_config(backend="erl", node=node):
        assert joblib.Parallel()(joblib.delayed(inner)(each) for each in range(5)) == [0, 0, 1, 3, 6]


# dask


def test_dask_takes_the_executor_as_its_scheduler(node: erl.Node) -> None:
    dask = pytest.importorskip("dask", reason="dask is not installed: scripts/setup programs")
    pids = serving(node)
    with dask.config.set(scheduler=PoolExecutor(node=node)):
        parts = [dask.delayed(pow)(2, each) for each in range(10)]
        assert dask.delayed(sum)(parts).compute() == 1023
        assert dask.delayed(os.getpid)().compute() in pids
        with pytest.raises(ZeroDivisionError):
            dask.delayed(divmod)(1, 0).compute()
        with pytest.raises(WorkerLostError):
            dask.delayed(os._exit)(3).compute()
        assert dask.delayed(sum)(parts).compute() == 1023


# asyncio


def test_a_loop_runs_in_the_executor(node: erl.Node) -> None:
    executor = PoolExecutor(node=node)

    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        return [
            await loop.run_in_executor(executor, abs, -3),
            *await asyncio.gather(*(executor.run(pow, 2, exp=each) for each in range(100))),
        ]

    assert asyncio.run(main()) == [3, *(2**each for each in range(100))]


def test_a_cancelled_coroutine_takes_its_running_task_along(node: erl.Node) -> None:
    executor = PoolExecutor(node=node)
    pids = serving(node)

    async def main() -> None:
        tasks = [asyncio.create_task(executor.run(time.sleep, 600)) for _ in range(2)]
        await asyncio.sleep(0.2)  # they may run by then; it holds as well where they don't
        for task in tasks:
            task.cancel()
        assert all(
            isinstance(each, asyncio.CancelledError)
            for each in await asyncio.gather(*tasks, return_exceptions=True)
        )
        with pytest.raises((TimeoutError, asyncio.TimeoutError)):
            await asyncio.wait_for(executor.run(time.sleep, 600), 0.2)
        # Both workers are free, and are the same.
        assert set(await asyncio.gather(*(executor.run(os.getpid) for _ in range(50)))) <= pids

    asyncio.run(asyncio.wait_for(main(), 60))


def test_errors_come_to_whoever_awaits(node: erl.Node) -> None:
    executor = PoolExecutor(node=node, timeout=0.3)

    async def main() -> list[type]:
        given = (
            executor.run(divmod, 1, 0),
            executor.run(time.sleep, 600),
            executor.run(os._exit, 3),
            executor.run(abs, -1),
        )
        return [type(each) for each in await asyncio.gather(*given, return_exceptions=True)]

    kinds = asyncio.run(main())
    assert kinds[:2] == [ZeroDivisionError, TaskTimeoutError]
    # It began on a worker beside the sleeping one, and the last call moved or ran before it.
    assert kinds[2] in (WorkerLostError, TaskTimeoutError)
    assert kinds[3] in (int, TaskTimeoutError)


# tqdm


def test_a_bar_of_tqdm_moves_as_results_come(node: erl.Node) -> None:
    tqdm = pytest.importorskip("tqdm", reason="tqdm is not installed: scripts/setup programs")
    import io

    executor = PoolExecutor(node=node)
    shown = io.StringIO()
    assert sum(tqdm.tqdm(executor.map(abs, range(-100, 0)), total=100, file=shown)) == 5050
    futures = [executor.submit(abs, -each) for each in range(20)]
    with tqdm.tqdm(as_completed(futures), total=20, file=shown) as bar:
        assert sorted(each.result() for each in bar) == list(range(20))
    eventually(lambda: "100/100" in shown.getvalue() and "20/20" in shown.getvalue())
