"""All executors of jobs have one interface: the same tests for each."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from processes import process_pool
from waiting import eventually

import erl
from erl import executors
from erl.executors import (
    ConcurrentExecutor,
    Executor,
    InlineExecutor,
    JobCancelledError,
    OtpExecutor,
    get,
    publish,
)
from erl.link import prints

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of dask's with two workers, which executors join."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it is built on
        pytest.importorskip(
            "distributed", reason="dask's distributed is not installed (scripts/setup arrays)"
        )
    from erl.executors import DaskExecutor, devices

    with DaskExecutor.make_local(devices.cluster_spec(2, 0, False)) as made:
        yield made.client


@pytest.fixture(params=["inline", "debug", "threads", "processes", "otp", "own workers", "dask"])
def executor(request: pytest.FixtureRequest, node: erl.Node) -> Iterator[Executor]:
    kind = request.param
    if kind == "dask":
        client = request.getfixturevalue("cluster")
        from erl.executors import DaskExecutor

        with DaskExecutor(client) as made:
            yield made
        return
    if kind == "inline":
        made: Executor = InlineExecutor()
    elif kind == "debug":
        made = InlineExecutor(debug=True)
    elif kind == "threads":
        made = ConcurrentExecutor.make_local(2)
    elif kind == "processes":
        with process_pool(2) as inner, ConcurrentExecutor(inner) as made:
            yield made
        return
    else:
        made = OtpExecutor(node, "default") if kind == "otp" else OtpExecutor(node, workers=2)
    with made:
        yield made


def is_elsewhere(executor: Executor) -> bool:
    return isinstance(executor, ConcurrentExecutor) and not executor._is_threads


class Parameters:
    def __init__(self, number: int) -> None:
        self.number = number

    def patch(self, number: int) -> None:
        self.number = number


def plus(number: int, params: Any) -> int:
    return number + int(params.number if isinstance(params, Parameters) else params)


def slow_plus(seconds: float, number: int, params: Any) -> int:
    time.sleep(seconds)
    return plus(number, params)


def test_it_runs_and_maps(executor: Executor) -> None:
    assert executor.run(pow, 2, 5) == 32
    assert list(executor.map(abs, range(-50, 0))) == list(range(50, 0, -1))
    assert sorted(executor.map(abs, range(-50, 0), ordered=False)) == list(range(1, 51))
    with pytest.raises(ZeroDivisionError):
        executor.run(divmod, 1, 0)


def test_tasks_are_called_with_their_parameters(executor: Executor) -> None:
    assert list(executor.run_tasks([partial(abs, -number) for number in range(9)], None, "job")) == list(
        range(9)
    )
    assert list(executor.run_tasks([partial(plus, number) for number in range(9)], 5, "job")) == list(
        range(5, 14)
    )
    assert sorted(executor.run_tasks([partial(plus, 1), partial(plus, 2)], 5, "job", ordered=False)) == [6, 7]
    assert list(executor.run_tasks([], None, "job")) == []


def test_tasks_are_fed_lazily(executor: Executor) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[Any]:
        for number in range(100_000):
            taken.append(number)
            yield partial(abs, -number)

    results = executor.run_tasks(tasks(), None, "lazy")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert len(taken) < 200


def test_an_error_ends_the_job_alone(executor: Executor) -> None:
    results = executor.run_tasks([partial(abs, -1), partial(divmod, 1, 0), partial(abs, -2)], None, "job")
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        list(results)
    assert executor.run(abs, -3) == 3


def test_a_scattered_object_is_given_by_what_stands_for_it(executor: Executor) -> None:
    handle = executor.scatter(Parameters(1))
    assert executor.run(plus, 1, handle) == 2
    assert list(executor.run_tasks([partial(plus, 1), partial(plus, 2)], handle, "job")) == [2, 3]
    executor.update(handle, Parameters(10))
    assert executor.run(plus, 1, handle) == 11
    executor.patch(handle, 20)
    assert executor.run(plus, 1, handle) == 21
    with pytest.raises(TypeError, match="patch"):
        executor.patch(executor.scatter(5), 1)


def test_a_version_outlives_the_tasks_that_name_it(executor: Executor) -> None:
    handle = executor.scatter(Parameters(1))
    results = executor.run_tasks([partial(slow_plus, 0.2, 1)] * 2, handle, "job")
    futures = [executor._start(None, slow_plus, (0.2, 1, handle), 0) for _ in range(4)]
    executor.patch(handle, 100)
    executor.update(handle, Parameters(200))
    assert [future.result(60) for future in futures] == [2] * 4
    assert list(results)[-1] in (2, 201)


def test_a_large_array_is_scattered(executor: Executor) -> None:
    numpy = pytest.importorskip("numpy")
    handle = executor.scatter(numpy.ones(200_000))
    assert executor.run(numpy.sum, handle) == 200_000
    executor.update(handle, numpy.zeros(10))
    assert executor.run(numpy.sum, handle) == 0


def test_calls_are_given_any_number_of_scattered_objects(executor: Executor) -> None:
    one, other = executor.scatter(20), executor.scatter(Parameters(1))
    assert list(executor.run_calls([(plus, (one, other)), (pow, (2, 5))], "job", retries=1)) == [21, 32]
    executor.release(one)
    assert executor.run(plus, 1, other) == 2


def test_what_is_released_leaves_driver_and_workers(node: erl.Node) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed here")
    with OtpExecutor(node, workers=1) as executor:
        directory = Path(node.link.scope.memory.directory)
        before = set(directory.iterdir())
        released = [executor.scatter(numpy.full(100_000, float(number))) for number in range(3)]
        kept = executor.scatter(numpy.ones(100_000))
        for number, handle in enumerate(released):
            assert executor.run(numpy.max, handle) == number
        assert executor.run(kept_in_worker) == 3
        for handle in released:
            executor.release(handle)
        eventually(lambda: executor.run(kept_in_worker) == 0)
        assert executor.run(numpy.sum, kept) == 100_000
        assert executor.run(kept_in_worker) == 1
        eventually(lambda: len(set(directory.iterdir()) - before) == 1)
        # Small ones have no file: of those the oldest go.
        for number in range(120):
            assert executor.run(plus, 1, executor.scatter(number)) == number + 1
        assert executor.run(kept_in_worker) < 120
        assert executor.run(numpy.sum, kept) == 100_000


def test_workers_let_go_of_what_was_scattered_when_an_executor_ends(node: erl.Node) -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed here")
    with OtpExecutor(node, "default") as after:
        with OtpExecutor(node, "default") as executor:
            handle = executor.scatter(numpy.ones(100_000))
            assert set(executor.each_worker(numpy.sum, handle).values()) == {100_000}
            assert set(after.each_worker(is_kept_in_worker, handle.key).values()) == {True}
        eventually(lambda: set(after.each_worker(is_kept_in_worker, handle.key).values()) == {False})


def is_kept_in_worker(key: str) -> bool:
    return key in executors.calls._scattered


def kept_in_worker() -> int:
    return len(executors.calls._scattered)


def found(key: str) -> Any:
    return get(key)


def test_workers_keep_what_is_put_there(executor: Executor) -> None:
    workers = executor.workers()
    assert workers
    for number, worker in enumerate(workers):
        if is_elsewhere(executor):
            break
        executor.put(worker, "number", number)
    else:
        assert [executor.run_on(worker, found, "number") for worker in workers] == list(range(len(workers)))
    assert set(executor.each_worker(abs, -1)) == set(workers)
    assert next(iter(executor.each_host(os.getpid).values())) > 0
    assert executor.resources()[0]["cpu"] == len(workers)
    with pytest.raises(ValueError, match="none of the workers"):
        executor.run_on("nobody", abs, 1)


def test_a_cancelled_job_says_so_and_others_go_on(executor: Executor) -> None:
    results = executor.run_tasks((partial(slow_plus, 0.05, number) for number in range(10_000)), 0, "long")
    assert next(results) == 0
    threading.Timer(0.2, executor.cancel, ("long",)).start()
    with pytest.raises(JobCancelledError):
        list(results)
    executor.cancel("nobody")
    assert executor.run(abs, -1) == 1


def says(number: int) -> int:
    publish("progress", {"number": number})
    publish("other", number)
    return number


def test_what_tasks_publish_reaches_who_has_subscribed(executor: Executor) -> None:
    if is_elsewhere(executor):
        return
    got: list[Any] = []
    both: list[Any] = []
    unsubscribe = executor.subscribe("progress", got.append)
    executor.subscribe("progress", lambda topic, message: both.append((topic, message)))
    assert list(executor.map(says, range(5))) == list(range(5))
    eventually(lambda: len(got) == 5)
    assert sorted(each["number"] for each in got) == list(range(5))
    assert ("progress", {"number": 3}) in both
    unsubscribe()
    executor.run(says, 9)
    assert len(got) == 5


def says_and_waits(number: int) -> None:
    publish("progress", number)
    time.sleep(0.02)


def test_who_hears_of_progress_may_cancel_the_job(executor: Executor) -> None:
    if is_elsewhere(executor):
        return
    executor.subscribe("progress", lambda _: executor.cancel("said"))
    with pytest.raises(JobCancelledError):
        list(executor.run_tasks((partial(says_and_waits, number) for number in range(10_000)), None, "said"))
    assert executor.run(abs, -1) == 1


def says_to(topics: list[str], number: int) -> int:
    for topic in topics:
        publish(topic, number)
    return number


def test_each_executor_of_a_node_hears_of_its_topics(node: erl.Node) -> None:
    # Of their own: a cancelled task of another test may still say something on its.
    topics = ["of one", "of the other"]
    with OtpExecutor(node, "default") as one, OtpExecutor(node, workers=1) as other:
        heard: list[list[Any]] = [[], []]
        for executor, topic, into in zip((one, other), topics, heard, strict=True):
            executor.subscribe(topic, into.append)
        assert other.run(says_to, topics, 5) == 5
        assert one.run(says_to, topics, 6) == 6
        eventually(lambda: len(heard[0]) == len(heard[1]) == 2)
        assert heard[1] == [5, 6]


def dies_once(path: str) -> str:
    if not os.path.exists(path):
        with open(path, "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


def test_a_dead_worker_costs_a_retry(node: erl.Node, tmp_path: Any) -> None:
    with OtpExecutor(node, "default") as executor:
        assert list(executor.map(dies_once, [str(tmp_path / "died")], retries=1)) == ["lived"]


def test_a_running_task_is_ended_by_cancelling(node: erl.Node) -> None:
    with OtpExecutor(node, workers=1) as executor:
        results = executor.run_tasks([partial(time.sleep, 600)], None, "sleep")
        threading.Timer(0.3, executor.cancel, ("sleep",)).start()
        with pytest.raises(JobCancelledError):
            list(results)
        assert executor.run(abs, -1) == 1


def test_a_closed_executor_says_so(executor: Executor) -> None:
    executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        executor.run(abs, -1)
    with pytest.raises(RuntimeError, match="closed"):
        list(executor.map(abs, [1]))
    executor.close()


def test_an_executor_that_nobody_has_any_more_ends_its_pool(node: erl.Node) -> None:
    listening = len(prints.listeners)
    executor = OtpExecutor(node, workers=1)
    assert executor.run(pow, 2, 3) == 8
    pool = executor.pool
    assert pool in node.pools
    assert len(prints.listeners) == listening + 1
    executor = OtpExecutor(node, workers=1)
    gc.collect()
    eventually(lambda: pool not in node.pools, 60)
    assert executor.run(pow, 2, 3) == 8
    executor.close()
    assert len(prints.listeners) == listening
