"""Measures one way to have functions run in other processes: a JSON object a line, or why it can't be measured.

    peer.py NAME SECONDS

Two workers each, made as `bench/link/side.py` makes them. `one`: a caller that waits for each call. `hundred`:
a hundred calls open at a time. `megabyte`: bytes there and back, one call at a time.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "link"))

import side

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


PEERS = {
    "multiprocessing.Pool": side.Pool,
    "ProcessPoolExecutor": side.ProcessPool,
    "loky": side.Loky,
    "dask": side.Dask,
    "ray": side.Ray,
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
        peer: Any = PEERS[name]()
        try:
            for _ in range(20):
                peer.get(peer.submit(add, 1, 2))
            for work in (one, hundred, megabyte):
                value = work(peer.submit, peer.get, seconds)
                print(json.dumps({"peer": name, "work": work.__name__, "value": value}), flush=True)
        finally:
            peer.close()
    except Exception as error:
        print(json.dumps({"peer": name, "missing": f"{type(error).__name__}: {error}"[:200]}), flush=True)


if __name__ == "__main__":
    main()
