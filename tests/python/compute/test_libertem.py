"""LiberTEM itself on a pool: its own API, its data sets, its user-defined functions."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from lt_tasks import Dies, Parameters, Signals, Task, Traced, Value, Where, threads
from waiting import eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it is built on
    lt = pytest.importorskip("libertem.api", reason="LiberTEM is not installed (scripts/setup arrays)")

import numpy
from libertem.common.exceptions import ExecutorSpecException
from libertem.common.executor import JobCancelledError, TaskCommHandler
from libertem.common.progress import ProgressReporter
from libertem.common.scheduler import Worker
from libertem.common.snooze import SnoozeMessage
from libertem.executor.base import ResourceError
from libertem.executor.inline import InlineJobExecutor
from libertem.udf.base import UDF
from libertem.udf.sum import SumUDF
from opentelemetry import trace

from erl.compute import libertem_tasks
from erl.compute.libertem import PoolJobExecutor
from erl.executors import ConcurrentExecutor, InlineExecutor, OtpExecutor, devices

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import erl

# Of what it is built on.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def executor() -> Iterator[PoolJobExecutor]:
    with PoolJobExecutor.make_local(cpus=2) as made:
        yield made


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A file of random numbers, as `load` takes it."""
    path = tmp_path_factory.mktemp("data") / "random.raw"
    data = numpy.random.default_rng(1).normal(size=(16, 16, 32, 32)).astype("float32")
    data.tofile(path)
    return {"path": str(path), "dtype": "float32", "nav_shape": (16, 16), "sig_shape": (32, 32)}


def run(executor: PoolJobExecutor, tasks: list[Any], params: Any = None, handler: Any = None) -> list[Any]:
    with executor.scatter(params) as handle:
        return [result for result, _ in executor.run_tasks(tasks, handle, "job", handler)]


# The programs of its documentation


def test_the_basic_example_runs(executor: PoolJobExecutor, raw: dict[str, Any]) -> None:
    ctx = lt.Context(executor=executor)
    dataset = ctx.load("raw", **raw)
    analysis = ctx.create_disk_analysis(dataset, cx=16, cy=16, r=8)
    result = ctx.run(analysis, progress=True)
    inline = lt.Context(executor=InlineJobExecutor())
    assert numpy.array_equal(result.intensity.raw_data, inline.run(analysis).intensity.raw_data)


def test_an_executor_of_somebody_elses_node_is_left_open(node: erl.Node) -> None:
    with OtpExecutor(node) as inner:
        with PoolJobExecutor(inner) as executor:
            assert executor.run_function(abs, -1) == 1
            assert [worker.name for worker in executor.get_available_workers()] == [
                "default-cpu-0",
                "default-cpu-1",
            ]
        assert inner.run(abs, -1) == 1


def test_devices_are_customised() -> None:
    found: Any = devices.detect()
    found["cudas"] = []
    found["has_cupy"] = False
    found["cpus"] = range(3)
    assert len(devices.cluster_spec(**found)) == 4
    with PoolJobExecutor.make_local(cpus=found["cpus"], gpus=found["cudas"]) as executor:
        assert executor.get_available_workers().names() == [f"default-cpu-{each}" for each in range(3)]
        assert executor.get_resource_details()[0]["cpu"] == 3


# What its executors promise


class Adds(UDF):  # type: ignore[misc,unused-ignore]
    def get_result_buffers(self) -> Any:
        return {"root": self.buffer(kind="sig", dtype="float32")}

    def process_frame(self, frame: Any) -> None:
        self.results.root[:] += numpy.sqrt(numpy.abs(frame))

    def merge(self, dest: Any, src: Any) -> None:
        dest.root[:] += src.root


def test_results_are_those_of_inline_bit_by_bit(executor: PoolJobExecutor, raw: dict[str, Any]) -> None:
    ctx = lt.Context(executor=executor)
    dataset = ctx.load("raw", **raw)
    dataset.set_num_cores(7)
    assert len(list(dataset.get_partitions())) >= 7
    expected = lt.Context(executor=InlineJobExecutor()).run_udf(dataset, [SumUDF(), Adds()])
    for _ in range(4):
        found = ctx.run_udf(dataset, [SumUDF(), Adds()])
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert one[name].raw_data.tobytes() == other[name].raw_data.tobytes(), name


def test_results_come_in_the_order_of_the_tasks(executor: PoolJobExecutor) -> None:
    tasks = [Task(number, 0.1 if number % 4 == 0 else 0) for number in range(40)]
    with executor.scatter("params") as handle:
        found = list(executor.run_tasks(tasks, handle, "ordered", TaskCommHandler()))
    assert [result for result, _ in found] == [(number, "params") for number in range(40)]
    assert [task for _, task in found] == tasks


def test_an_update_leaves_the_old_one_to_tasks_on_their_way(executor: PoolJobExecutor) -> None:
    with executor.scatter(Parameters("old")) as handle:
        results = executor.run_tasks([Value(seconds=0.02) for _ in range(60)], handle, "update")
        found = [next(results)[0]]
        executor.scatter_update_patch(handle, "patched")
        executor.scatter_update(handle, Parameters("new"))
        found += [result for result, _ in results]
    assert found[:3] == ["old"] * 3
    assert found[-1] == "new"
    assert set(found) == {"old", "new"}
    with executor.scatter(5) as number, pytest.raises(TypeError, match="patch"):
        executor.scatter_update_patch(number, 6)


def test_a_cancelled_job_ends_at_once(executor: PoolJobExecutor) -> None:
    run(executor, [Task()] * 4)
    before = time.monotonic()
    with executor.scatter(None) as handle:
        results = executor.run_tasks([Task(seconds=60) for _ in range(20)], handle, "long")
        threading.Timer(0.3, executor.cancel, ("long",)).start()
        with pytest.raises(JobCancelledError):
            list(results)
    assert executor.run_function(abs, -1) == 1
    assert time.monotonic() - before < 60
    executor.cancel("nobody")


def test_a_dead_worker_costs_a_retry(executor: PoolJobExecutor, tmp_path: Path) -> None:
    assert run(executor, [Dies(str(tmp_path / "died"))]) == ["lived"]


class Raises(UDF):  # type: ignore[misc,unused-ignore]
    def get_result_buffers(self) -> Any:
        return {"sum": self.buffer(kind="nav", dtype="float32")}

    def process_frame(self, frame: Any) -> None:
        raise ZeroDivisionError("in a frame")


class Warns(Raises):
    def process_frame(self, frame: Any) -> None:
        warnings.warn("a frame is strange", RuntimeWarning, stacklevel=1)
        self.results.sum[:] = frame.sum()


def test_several_threads_run_jobs_on_one_executor(executor: PoolJobExecutor, raw: dict[str, Any]) -> None:
    ctx = lt.Context(executor=executor)
    dataset = ctx.load("raw", **raw)
    expected = ctx.run_udf(dataset, SumUDF())["intensity"].raw_data
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(ctx.run_udf, dataset, SumUDF(), progress=True) for _ in range(8)]
        assert all(numpy.array_equal(each.result()["intensity"].raw_data, expected) for each in runs)


def test_what_a_udf_raises_and_warns_of_reaches_the_driver(
    executor: PoolJobExecutor, raw: dict[str, Any]
) -> None:
    ctx = lt.Context(executor=executor)
    dataset = ctx.load("raw", **raw)
    with pytest.raises(ZeroDivisionError, match="in a frame"):
        ctx.run_udf(dataset, Raises())
    with pytest.warns(RuntimeWarning, match="a frame is strange"):
        ctx.run_udf(dataset, Warns())


class Reporter(ProgressReporter):  # type: ignore[misc,unused-ignore]
    def __init__(self) -> None:
        self.states: list[Any] = []

    def start(self, state: Any) -> None:
        self.states.append(("start", state))

    def update(self, state: Any) -> None:
        self.states.append(("update", state))

    def end(self, state: Any) -> None:
        self.states.append(("end", state))


def test_progress_comes_while_it_runs(executor: PoolJobExecutor, raw: dict[str, Any]) -> None:
    reporter = Reporter()
    ctx = lt.Context(executor=executor)
    ctx.run_udf(ctx.load("raw", **raw), SumUDF(), progress=reporter)
    kinds = [kind for kind, _ in reporter.states]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert reporter.states[-1][1].num_frames_complete == 256


def test_signals_of_tasks_reach_their_handler_alone(executor: PoolJobExecutor) -> None:
    heard: list[Any] = []
    handler = TaskCommHandler()
    handler.subscribe("news", lambda topic, message: heard.append((topic, message)))
    assert run(executor, [Signals(number) for number in range(5)], None, handler) == [(1, False, None)] * 5
    assert sorted(message["number"] for _, message in heard) == list(range(5))
    assert heard[0][0] == "news"
    assert heard[0][1]["ident"] == "me"
    run(executor, [Signals(9)], None, TaskCommHandler())
    assert len(heard) == 5


def test_tasks_are_part_of_the_trace(executor: PoolJobExecutor) -> None:
    span = trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, is_remote=False))
    with trace.use_span(span):
        assert run(executor, [Traced()]) == [0xABC]
    assert run(executor, [Traced()]) == [0]


def test_a_worker_has_one_thread_and_the_shared_cache(executor: PoolJobExecutor) -> None:
    found = executor.run_each_worker(threads)
    assert set(found) == set(executor.get_available_workers().names())
    assert {number for number, _ in found.values()} == {1}
    (cache,) = {cache for _, cache in found.values()}
    assert cache is not None
    if "NUMBA_CACHE_DIR" not in os.environ:
        assert os.stat(cache).st_mode & 0o077 == 0


def test_a_context_sends_no_signal_of_a_reserved_name() -> None:
    context = libertem_tasks.WorkerContext("topic")
    with pytest.raises(ValueError, match="reserved"):
        context.signal("me", "news", {"ident": 1})
    with pytest.raises(NotImplementedError):
        context.get_worker_queue()


def test_functions_run_on_workers_hosts_and_items(executor: PoolJobExecutor) -> None:
    assert executor.run_function(int, "11", base=2) == 3
    assert executor.map(lambda number: number + 1, [1, 2, 3]) == [2, 3, 4]
    (host,) = executor.get_available_workers().hosts()
    assert executor.run_each_host(lambda number: 42 + number, 1) == {host: 43}
    assert len(set(executor.run_each_worker(os.getpid).values())) == 2
    with pytest.raises(ZeroDivisionError):
        executor.run_function(divmod, 1, 0)
    assert executor.ensure_sync() is executor
    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(executor.ensure_async(pool).run_function(abs, -4)) == 4
    partitions = [Task(number) for number in range(3)]
    assert list(executor.run_each_partition(partitions, lambda task: task.value)) == [0, 1, 2]
    assert list(executor.run_each_partition(partitions, abs, all_nodes=True)) == []


def test_other_executors_take_its_tasks_too() -> None:
    for made in (InlineExecutor(), ConcurrentExecutor.make_local(2)):
        with made, PoolJobExecutor(made) as executor:
            tasks = [Signals(number) for number in range(5)]
            is_threaded = not isinstance(made, InlineExecutor)
            assert run(executor, tasks, None, TaskCommHandler()) == [(1, is_threaded, None)] * 5


# Devices


def test_a_task_for_a_gpu_goes_where_one_is(monkeypatch: pytest.MonkeyPatch, node: erl.Node) -> None:
    with pytest.raises(ExecutorSpecException, match="no GPUs detected"):
        PoolJobExecutor.make_local(cpus=1, gpus=1)
    with pytest.raises(ValueError, match="no worker"):
        PoolJobExecutor.make_local(cpus=0, gpus=0)
    with OtpExecutor(node) as inner, pytest.raises(ResourceError):
        run(PoolJobExecutor(inner), [Task(resources={"CUDA": 1})])
    # Nothing that uses a GPU runs here.
    monkeypatch.setattr(devices, "_cudas", lambda: [3])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with PoolJobExecutor.make_local(cpus=1, gpus=1, main_process_gpu=False) as executor:
        assert list(executor.get_available_workers()) == [
            Worker("default-cpu-0", executor.get_resource_details()[0]["host"], {}, 1),
            Worker("default-cuda-3-0", executor.get_resource_details()[0]["host"], {}, 1),
        ]
        assert executor.get_resource_details()[0]["cuda"] == 1
        kinds: list[dict[str, int]] = [{"CUDA": 1}, {"CPU": 1, "ndarray": 1}] * 3
        with executor.scatter(list(range(100_000))) as handle:
            tasks = [Where(resources=each) for each in kinds]
            found = [result for result, _ in executor.run_tasks(tasks, handle, "job")]
        assert found == [(0, "3"), (None, None)] * 3
        with pytest.raises(ResourceError):
            run(executor, [Task(resources={"CUDA": 1, "ndarray": 1})])


# Snoozing


def test_workers_are_warmed_up(executor: PoolJobExecutor, raw: dict[str, Any]) -> None:
    taken = executor.warm_up(lt.Context(executor=executor).load("raw", **raw))
    assert list(taken) == ["default-cpu-0", "default-cpu-1"]
    assert min(taken.values()) > 0


def test_workers_end_that_have_nothing_to_do_and_come_back() -> None:
    with PoolJobExecutor.make_local(cpus=1, snooze_timeout=0.3) as executor:
        heard: list[Any] = []
        key = executor.subscribe(SnoozeMessage.SNOOZE, lambda topic, message: heard.append(topic))
        assert executor.run_function(abs, -1) == 1
        manager = executor.snooze_manager
        assert manager is not None
        eventually(lambda: manager.is_snoozing and executor.executor._node is None)  # type: ignore[attr-defined]
        assert heard == [SnoozeMessage.SNOOZE]
        assert len(executor.get_available_workers()) == 1
        assert run(executor, [Task(5)], "params") == [(5, "params")]
        os.kill(executor.executor.node.status()["os_pid"], signal.SIGKILL)  # type: ignore[attr-defined]
        eventually(lambda: not executor.executor._node or not executor.executor._node.is_up)  # type: ignore[attr-defined]
        assert executor.run_function(abs, -2) == 2
        assert executor.unsubscribe(key)
        assert not executor.unsubscribe(key)
    with pytest.raises(RuntimeError, match="closed"):
        executor.run_function(abs, -1)


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(TypeError, match=r"executor is one of erl\.executors, not a int"):
        PoolJobExecutor(3)  # type: ignore[arg-type]
