"""The executor over a cluster of dask's: one that others have started, and one of its own."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it is built on
    pytest.importorskip("distributed", reason="dask's distributed is not installed (scripts/setup arrays)")

from erl import errors
from erl.executors import DaskExecutor, JobCancelledError, devices, get, publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


class Processes:
    """A scheduler and two workers, each a process, on loopback."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        file = directory / "scheduler.json"
        where = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
        self.scheduler = self._dask("scheduler", *where, "--port", "0", "--idle-timeout", "10 minutes")
        more = ["--nthreads", "1", "--no-nanny", "--death-timeout", "300"]
        self.workers = [self._dask("worker", *where, *more, "--name", name) for name in ("one", "two")]
        eventually(lambda: file.exists() and file.read_text().endswith("}"), 120)
        self.address = json.loads(file.read_text())["address"]

    def _dask(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._directory / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments], cwd=self._directory, stdout=log, stderr=log
            )

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    started = Processes(tmp_path_factory.mktemp("dask"))
    yield started
    started.end()


def connected(processes: Processes) -> DaskExecutor:
    made = DaskExecutor.connect(processes.address, timeout=60)
    made.client.wait_for_workers(2, timeout=60)
    return made


def test_a_cluster_of_processes_lives_on_after_close(processes: Processes) -> None:
    for _ in range(2):
        with connected(processes) as executor:
            assert executor.workers() == ["one", "two"]
            # Code of this module goes by value: the workers don't have it.
            assert list(executor.map(lambda number: number * number, range(20))) == [n * n for n in range(20)]
            pids = executor.each_worker(os.getpid)
            assert sorted(pids.values()) == sorted(process.pid for process in processes.workers)
            assert list(executor.each_host(os.getppid)) == ["127.0.0.1"]
            assert executor.resources() == [{"host": "127.0.0.1", "cpu": 2, "cuda": 0, "service": 0}]
        with pytest.raises(RuntimeError, match="closed"):
            executor.run(abs, 1)
    assert [process.poll() for process in (processes.scheduler, *processes.workers)] == [None] * 3


def kept(key: str, number: int) -> Any:
    publish("numbers", number)
    return get(key) + number


def test_workers_of_processes_keep_objects_and_publish(processes: Processes) -> None:
    heard: list[Any] = []
    with connected(processes) as executor:
        executor.subscribe("numbers", heard.append)
        executor.put("one", "ten", 10)
        executor.put("two", "ten", 20)
        assert [executor.run_on(worker, kept, "ten", 1) for worker in ("one", "two")] == [11, 21]
        eventually(lambda: heard == [1, 1])
        with pytest.raises(KeyError):
            executor.run_on("one", kept, "nothing", 1)
        with pytest.raises(ValueError, match="32768 is the most"):
            executor.run(publish, "numbers", b"x" * 40_000)


def test_a_cancelled_job_is_left_at_once_and_its_workers_finish(processes: Processes) -> None:
    with connected(processes) as executor:
        results = executor.run_tasks([partial(time.sleep, 3) for _ in range(20)], None, "sleep")
        before = time.monotonic()
        threading.Timer(0.3, executor.cancel, ("sleep",)).start()
        with pytest.raises(JobCancelledError):
            list(results)
        left = time.monotonic() - before
        assert left < 20  # for all of them it takes 30 s
        assert executor.run(abs, -1) == 1


def doubled(array: Any) -> Any:
    array *= 2  # what a task is given is its own
    return array


def test_large_arrays_go_there_and_back(processes: Processes) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(400_000.0)
    with connected(processes) as executor, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (executor.run(doubled, array) == numpy.arange(0, 800_000, 2.0)).all()
        assert (array == numpy.arange(400_000.0)).all()
        columns = numpy.asfortranarray(numpy.arange(300_000.0).reshape(3, 100_000))
        assert (executor.run(doubled, columns) == 2 * columns).all()
        handle = executor.scatter(array)
        assert executor.run(numpy.sum, handle) == array.sum()


def test_a_dead_port_is_an_error_within_the_timeout() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        before = time.monotonic()
        with pytest.raises(errors.NodeError, match=address):
            DaskExecutor.connect(address, timeout=0.5)
        assert time.monotonic() - before < 20
    with pytest.raises(errors.NodeError, match="nonsense"):
        DaskExecutor.connect("nonsense://127.0.0.1", timeout=0.5)
    with pytest.raises(ValueError, match="timeout"):
        DaskExecutor.connect(address, timeout=0)


def dies_once(path: str) -> str:
    if not os.path.exists(path):
        with open(path, "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def test_a_dead_worker_of_a_local_cluster_costs_its_task(tmp_path: Path) -> None:
    with DaskExecutor.make_local(devices.cluster_spec(1, 0, False, name="mine", num_service=0)) as executor:
        assert executor.workers() == ["mine-cpu-0"]
        handle = executor.scatter([1, 2])
        with pytest.raises(errors.WorkerLostError):
            executor.run(os.kill, executor.run(os.getpid), signal.SIGKILL)
        # What was scattered died with it, and is there again.
        assert executor.run(sum, handle) == 3
        assert list(executor.map(dies_once, [str(tmp_path / "died")], retries=3)) == ["lived"]
    executor.close()


def test_a_scheduler_that_is_gone_is_an_error(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    try:
        with connected(processes) as executor:
            results = executor.run_tasks([partial(time.sleep, 600)] * 2, None, "sleep")
            threading.Timer(0.3, processes.scheduler.kill).start()
            with pytest.raises(errors.NodeDownError, match="is gone"):
                list(results)
            with pytest.raises(errors.NodeDownError, match=processes.address):
                executor.run(abs, 1)
    finally:
        processes.end()


def test_an_executor_that_nobody_has_any_more_ends_its_cluster() -> None:
    executor = DaskExecutor.make_local(devices.cluster_spec(1, 0, False, num_service=0))
    assert executor.run(abs, -1) == 1
    client, cluster = executor.client, executor._cluster
    del executor
    gc.collect()
    eventually(lambda: client.status == "closed" and cluster.status.name == "closed", 60)
