"""The executor over several pools of a node of its own."""

from __future__ import annotations

import gc
import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

from erl.executors import JobCancelledError, devices, get
from erl.executors.pools import PoolsExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def executor() -> Iterator[PoolsExecutor]:
    with PoolsExecutor(devices.pools(1, [0, 1], name="lab"), needs) as made:
        yield made


def needs(function: Any, args: tuple[Any, ...]) -> dict[str, int]:
    return {"CUDA": 1} if function is visible else {}


def visible(*_: Any) -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def test_a_worker_has_the_name_of_its_device(executor: PoolsExecutor) -> None:
    names = ["lab-cpu-0", "lab-cuda-0-0", "lab-cuda-1-0"]
    assert executor.workers() == names
    assert executor.each_worker(visible) == dict(zip(names, ("all", "0", "1"), strict=True))
    assert executor.resources()[0]["cpu"] == 1
    assert executor.resources()[0]["cuda"] == 2
    executor.put("lab-cuda-1-0", "key", 5)
    assert executor.run_on("lab-cuda-1-0", get, "key") == 5
    with pytest.raises(ValueError, match="none of the workers"):
        executor.run_on("nobody", abs, 1)


def test_tasks_go_where_what_they_need_is(executor: PoolsExecutor) -> None:
    assert set(executor.run_calls([(visible, ())] * 20, "gpus")) == {"0", "1"}
    handle = executor.scatter(list(range(100_000)))
    assert list(executor.run_calls([(len, (handle,))] * 9, "any")) == [100_000] * 9
    executor.update(handle, [1])
    assert list(executor.run_calls([(len, (handle,))] * 9, "any")) == [1] * 9
    executor.release(handle)


def test_a_job_in_all_pools_is_cancelled(executor: PoolsExecutor) -> None:
    results = executor.run_tasks([partial(time.sleep, 600)] * 9, None, "long")
    threading.Timer(0.3, executor.cancel, ("long",)).start()
    with pytest.raises(JobCancelledError):
        list(results)
    assert executor.run(abs, -1) == 1


def test_what_nobody_has_is_refused(executor: PoolsExecutor) -> None:
    with PoolsExecutor(devices.pools(1), lambda *_: {"CUDA": 1}) as other:
        with pytest.raises(ValueError, match="CUDA"):
            other.run(abs, -1)
        assert other.run_on("default-cpu-0", abs, -1) == 1
    with pytest.raises(RuntimeError, match="closed"):
        other.run(abs, -1)
    with pytest.raises(ValueError, match="no worker"):
        PoolsExecutor(devices.pools(0, []))


def test_closing_ends_what_runs() -> None:
    executor = PoolsExecutor(devices.pools(1))
    future = executor._start(None, time.sleep, (600,), 0)
    executor.close()
    with pytest.raises(Exception, match=r".*"):
        future.result(60)
    executor.close()


def test_an_executor_that_nobody_has_any_more_ends_its_node() -> None:
    executor = PoolsExecutor(devices.pools(1))
    assert executor.run(abs, -1) == 1
    node = executor.node
    del executor
    gc.collect()
    eventually(lambda: not node.is_up, 60)
