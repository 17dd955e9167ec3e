"""Executors where something is short, or dies all the time: no room in shared memory, no descriptors, no workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

import erl
from erl.futures import PoolExecutor, WorkerLostError

if TYPE_CHECKING:
    from pathlib import Path


def test_where_shared_memory_is_full_values_go_with_the_messages() -> None:
    numpy = pytest.importorskip("numpy")
    with erl.start({"default": {"size": 1}}, name="full", max_shared_bytes=1_000_000) as node:
        executor = node.executor()
        given = numpy.ones(500_000)
        assert executor.submit(numpy.sum, given).result(60) == 500_000
        assert executor.submit(numpy.ones, 500_000).result(60).sum() == 500_000
        assert executor.submit(numpy.sum, given[:10_000]).result(60) == 10_000
        directory = node.link.scope.memory.directory
        eventually(lambda: not os.listdir(directory))


LOW = """\
import os, resource, erl, numpy
node = erl.start({"default": {"size": 1}})
executor = node.executor()
taken = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 6, taken + 6))
kept = [executor.submit(numpy.ones, 600_000).result(60) for _ in range(25)]
print(sum(int(each.sum()) for each in kept))
"""


def test_results_that_are_kept_take_no_descriptors_where_there_are_few() -> None:
    pytest.importorskip("numpy")
    done = subprocess.run([sys.executable, "-c", LOW], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(25 * 600_000), done.stderr


def noted(path: str, number: int) -> tuple[int, int]:
    with open(path, "a") as file:
        file.write(f"{number}\n")
    time.sleep(0.002)
    return number, os.getpid()


def test_under_kills_each_task_runs_once_or_says_that_it_was_lost(
    executor: PoolExecutor, tmp_path: Path
) -> None:
    path = tmp_path / "numbers"
    futures = [executor.submit(noted, str(path), number) for number in range(600)]
    killed: set[int] = set()
    for number in range(0, 600, 60):
        try:
            pid = futures[number].result(60)[1]
        except WorkerLostError:
            continue
        if pid not in killed and len(killed) < 4:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
    outcomes: dict[int, Any] = {number: future.exception(60) for number, future in enumerate(futures)}
    ran = Counter(map(int, path.read_text().split()))
    assert max(ran.values()) == 1
    assert all(type(error) is WorkerLostError for error in outcomes.values() if error is not None)
    assert all(number in ran for number, error in outcomes.items() if error is None)
    assert sum(error is not None for error in outcomes.values()) <= 20 * len(killed)
    assert executor.submit(abs, -1).result(60) == 1


def test_a_program_that_is_killed_under_load_leaves_no_file_of_its_tasks(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    assert numpy
    program = (
        "import erl, numpy, time\n"
        "node = erl.start({'default': {'size': 2}}); executor = node.executor()\n"
        "print(node.link.scope.memory.directory, flush=True)\n"
        "futures = [executor.submit(numpy.sum, numpy.ones(100_000)) for _ in range(200)]\n"
        "time.sleep(600)"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    directory = run.stdout.readline().strip()
    assert os.path.isdir(directory)
    eventually(lambda: os.listdir(directory))
    run.kill()
    run.wait()
    run.stdout.close()
    eventually(lambda: not os.path.exists(directory))
