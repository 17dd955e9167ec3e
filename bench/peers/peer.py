"""Measures one way to have functions run in other processes: a JSON object a line, or why it can't be measured.

    peer.py NAME SECONDS

Two workers each. `one`: a caller that waits for each call. `hundred`: a hundred calls open at a time. `megabyte`: bytes
there and back, one call at a time.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

WORKERS = 2
OPEN = 100
PAYLOAD = bytes(1_000_000)

Submit = Callable[..., Any]
Result = Callable[[Any], Any]


def add(one: int, other: int) -> int:
    """What every call runs."""
    return one + other


def echo(data: bytes) -> bytes:
    """What a call with a payload runs."""
    return data


def _result(future: Any) -> Any:
    return future.result()


@contextmanager
def pool() -> Iterator[tuple[Submit, Result]]:
    """multiprocessing.Pool."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(WORKERS) as workers:
        yield lambda function, *args: workers.apply_async(function, args), lambda call: call.get()


@contextmanager
def executor() -> Iterator[tuple[Submit, Result]]:
    """concurrent.futures.ProcessPoolExecutor."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as workers:
        yield workers.submit, _result


@contextmanager
def loky() -> Iterator[tuple[Submit, Result]]:
    """The executor of joblib."""
    from loky import get_reusable_executor  # type: ignore[import-not-found]

    workers = get_reusable_executor(WORKERS)
    yield workers.submit, _result
    workers.shutdown(wait=True)


@contextmanager
def dask() -> Iterator[tuple[Submit, Result]]:
    """A local cluster of dask.distributed."""
    from distributed import Client  # type: ignore[import-not-found]

    with Client(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as client:
        yield lambda function, *args: client.submit(function, *args, pure=False), _result


@contextmanager
def ray() -> Iterator[tuple[Submit, Result]]:
    """Tasks of ray."""
    import ray as peer  # type: ignore[import-not-found]

    peer.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error")
    remote = {function: peer.remote(function) for function in (add, echo)}
    yield lambda function, *args: remote[function].remote(*args), peer.get
    peer.shutdown()


PEERS = {
    "multiprocessing.Pool": pool,
    "ProcessPoolExecutor": executor,
    "loky": loky,
    "dask": dask,
    "ray": ray,
}


def one(submit: Submit, result: Result, seconds: float) -> float:
    """Microseconds of a call."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        assert result(submit(add, count, 1)) == count + 1
        count += 1
    return (time.perf_counter() - start) / count * 1e6


def hundred(submit: Submit, result: Result, seconds: float) -> float:
    """Calls a second."""
    open_calls = deque(submit(add, number, 1) for number in range(OPEN))
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        result(open_calls.popleft())
        open_calls.append(submit(add, count, 1))
        count += 1
    spent = time.perf_counter() - start
    for call in open_calls:
        result(call)
    return count / spent


def megabyte(submit: Submit, result: Result, seconds: float) -> float:
    """Milliseconds of a call."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        assert len(result(submit(echo, PAYLOAD))) == len(PAYLOAD)
        count += 1
    return (time.perf_counter() - start) / count * 1e3


def main() -> None:
    """Print what was measured."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    try:
        with PEERS[name]() as (submit, result):
            for _ in range(20):
                result(submit(add, 1, 2))
            for work in (one, hundred, megabyte):
                value = work(submit, result, seconds)
                print(json.dumps({"peer": name, "work": work.__name__, "value": value}), flush=True)
    except Exception as error:
        print(json.dumps({"peer": name, "missing": f"{type(error).__name__}: {error}"[:200]}), flush=True)


if __name__ == "__main__":
    main()
