"""Shared memory of arguments and results: there as long as somebody has them, gone with whoever had them."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

import erl
from erl.futures import PoolExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES = 100_000


def files(node: erl.Node) -> int:
    """How many there are of all drivers."""
    place = node.link.scope.memory
    assert place is not None
    return len(os.listdir(place.directory))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def large(number: int) -> bytes:
    return bytes([number % 256]) * BYTES


@pytest.fixture
def own(node: erl.Node) -> Iterator[erl.Node]:
    """The tests' node, with no file of another test's there."""
    gc.collect()
    eventually(lambda: files(node) == 0)
    yield node
    gc.collect()
    eventually(lambda: files(node) == 0)


def test_thousands_of_results_leave_nothing(own: erl.Node) -> None:
    """Neither a file nor a descriptor, here or in the workers, whether a result is kept, dropped or read twice."""
    before = descriptors()
    with own.executor() as executor:
        in_workers = [executor.submit_to(worker, descriptors).result(30) for worker in executor.workers]
        assert all(own.func(large, number) == large(number) for number in range(100))
        for first in range(0, 2000, 100):
            made = [executor.submit(large, number) for number in range(first, first + 100)]
            assert [future.result(60)[0] for future in made] == [
                number % 256 for number in range(first, first + 100)
            ]
            assert made[0].result() is made[0].result()
        kept = [future.result() for future in made]
        del made
        assert all(each == large(number) for number, each in enumerate(kept, 1900))
        eventually(lambda: files(own) == 0)  # what was read is a copy
        after = [executor.submit_to(worker, descriptors).result(30) for worker in executor.workers]
    assert descriptors() <= before + 2
    assert all(now <= then + 2 for now, then in zip(after, in_workers, strict=True))


def test_what_nobody_reads_goes_with_its_future(own: erl.Node) -> None:
    with own.executor() as executor:
        futures = [executor.submit(large, number) for number in range(50)]
        concurrent.futures.wait(futures, 60)
        assert files(own) == 50
        assert [future.exception(60) for future in futures[:20]] == [None] * 20
        eventually(lambda: files(own) == 30)
        del futures
        gc.collect()
        eventually(lambda: files(own) == 0)
        # Nor does what fails keep its arguments, by its traceback.
        errors = [executor.submit(divmod, bytearray(BYTES), number).exception(60) for number in range(20)]
        assert {type(error) for error in errors} == {TypeError}
        eventually(lambda: files(own) == 0)
        results = executor.map(large, range(200), chunksize=1)
        next(results)
        results.close()  # type: ignore[attr-defined]
        del results


def test_killed_cancelled_and_late_tasks_leave_nothing(own: erl.Node) -> None:
    def slow(data: Any) -> Any:
        import time

        time.sleep(30)
        return data

    with PoolExecutor(node=own, timeout=0.3) as hasty, own.executor() as executor:
        late = [hasty.submit(slow, bytearray(BYTES)) for _ in range(4)]
        assert {type(future.exception(60)).__name__ for future in late} == {"TaskTimeoutError"}
        running = [executor.submit(slow, bytearray(BYTES)) for _ in range(10)]
        eventually(lambda: files(own) == 10)  # those of the late ones are gone
        assert all(future.kill() for future in running)
        concurrent.futures.wait(running, 60)
        lost = executor.submit(lambda data: os._exit(3), bytearray(BYTES))
        assert type(lost.exception(60)).__name__ == "WorkerLostError"
        del late, running, lost


JOINED = """
import concurrent.futures, os, sys, time
import erl

def large(number):
    return bytes(100_000)

def slow(data):
    time.sleep(600)

node = erl.connect(sys.argv[1])
executor = node.executor()
unread = [executor.submit(large, number) for number in range(100)]
concurrent.futures.wait(unread)
open_ones = [executor.submit(slow, bytearray(100_000)) for _ in range(20)]
while not open_ones[0].running():
    time.sleep(0.01)
print("ready", flush=True)
what = sys.stdin.readline().strip()
if what == "stop":
    node.stop()
if what == "_exit":
    os._exit(0)
if what:
    sys.stdin.readline()
"""


@pytest.mark.parametrize("what", ["stop", "_exit", "kill"])
def test_a_driver_that_goes_takes_its_files_along(own: erl.Node, what: str) -> None:
    arguments = [sys.executable, "-c", JOINED, own.socket]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdin is not None
            assert driver.stdout is not None
            assert driver.stdout.readline() == "ready\n"
            assert files(own) == 120
            if what == "kill":
                driver.send_signal(signal.SIGKILL)
            else:
                driver.stdin.write(f"{what}\n")
                driver.stdin.flush()
            eventually(lambda: files(own) == 0)
            # The workers are free, too.
            assert own.func(abs, -1) == 1
        finally:
            driver.kill()
