"""`PoolExecutor` beside what users of other executors report: whatever a task does costs that task alone."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

import erl
from erl import errors
from erl.futures import PoolExecutor, WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Iterator


# Values


@pytest.mark.parametrize(
    "value", [None, True, 1 << 70, 1.5, float("inf"), "é\x00", b"\xff", (1, [2], {3}), {"a": 1j}, ...]
)
def test_values_come_back_as_they_are(executor: PoolExecutor, value: Any) -> None:
    assert executor.submit(lambda it: it, value).result(30) == value


@pytest.mark.parametrize("size", [10, 65_535, 65_536, 1_000_000])
def test_bytes_of_any_size_come_back(executor: PoolExecutor, size: int) -> None:
    data = os.urandom(size)
    assert executor.submit(bytes, data).result(30) == data


def test_arrays_may_be_changed_on_both_sides(executor: PoolExecutor) -> None:
    numpy = pytest.importorskip("numpy")
    given = numpy.arange(1_000_000, dtype="f8")

    def changed(array: Any) -> Any:
        array += 1
        return array

    got = executor.submit(changed, given).result(30)
    assert numpy.array_equal(got, given + 1)
    got *= 2
    assert given[0] == 0


def test_files_of_shared_memory_go_with_what_they_were_for(node: erl.Node, executor: PoolExecutor) -> None:
    numpy = pytest.importorskip("numpy")
    directory = node.link.scope.memory.directory
    before = len(os.listdir(directory))
    futures = [executor.submit(numpy.ones, 20_000) for _ in range(20)]
    concurrent.futures.wait(futures, 30)
    kept = [future.result() for future in futures[:10]]
    del futures
    gc.collect()
    executor.submit(len, numpy.ones(100_000)).result(30)
    eventually(lambda: len(os.listdir(directory)) == before)
    assert all(each.sum() == 20_000 for each in kept)


def test_functions_may_be_named(executor: PoolExecutor) -> None:
    assert executor.submit("os.path.join", "a", "b").result(30) == os.path.join("a", "b")  # type: ignore[arg-type]


def test_a_closure_is_what_it_is_when_it_is_submitted(executor: PoolExecutor) -> None:
    factor = 1
    times = lambda number: factor * number  # noqa: E731
    first = executor.submit(times, 5)
    factor = 2
    assert (first.result(30), executor.submit(times, 5).result(30)) == (5, 10)


def test_a_default_that_changes_is_not_kept(executor: PoolExecutor) -> None:
    def seen(into: list[int] = []) -> int:  # noqa: B006
        into.append(1)
        return len(into)

    assert [executor.submit(seen).result(30) for _ in range(6)] == [1] * 6


# More than one


def test_map_in_chunks_of_any_size(executor: PoolExecutor) -> None:
    assert list(executor.map(pow, range(500), [2] * 500)) == [number**2 for number in range(500)]
    for chunksize in (1, 7, 1000):
        assert list(executor.map(str, range(100), chunksize=chunksize)) == [*map(str, range(100))]
    assert list(executor.map(str, range(20), buffersize=3)) == [*map(str, range(20))]


def test_map_gives_what_comes_before_an_error(executor: PoolExecutor) -> None:
    got: list[float] = []
    results = executor.map(lambda number: 10 / (5 - number), range(10), chunksize=4)
    with pytest.raises(ZeroDivisionError) as caught:
        got.extend(results)
    assert got == [10 / (5 - number) for number in range(5)]
    assert "10 / (5 - number)" in str(caught.value.__cause__)


def test_map_with_a_buffer_looks_at_no_more_items(executor: PoolExecutor) -> None:
    seen: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1_000_000):
            seen.append(number)
            yield number

    results = executor.map(abs, items(), buffersize=4)
    assert [next(results) for _ in range(5)] == list(range(5))
    assert len(seen) <= 10


@pytest.mark.parametrize("bad", [{"chunksize": 0}, {"buffersize": 0}])
def test_map_refuses_what_is_no_size(executor: PoolExecutor, bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        executor.map(abs, [1], **bad)  # type: ignore[arg-type]


def test_map_keeps_to_its_timeout(executor: PoolExecutor) -> None:
    with pytest.raises(concurrent.futures.TimeoutError):
        list(executor.map(time.sleep, [0, 0, 3], timeout=0.5))


def test_coroutines_await_tasks(executor: PoolExecutor) -> None:
    async def several() -> list[int]:
        loop = asyncio.get_running_loop()
        other = loop.run_in_executor(executor, abs, -5)
        return [*await asyncio.gather(*(executor.run(pow, number, 2) for number in range(10))), await other]

    assert asyncio.run(several()) == [*(number**2 for number in range(10)), 5]


def test_a_cancelled_coroutine_cancels_its_task(executor: PoolExecutor) -> None:
    async def impatient() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(executor.run(time.sleep, 60), 0.3)

    asyncio.run(impatient())
    assert list(executor.map(abs, range(10))) == list(range(10))


def test_callbacks_may_submit_and_must_not_wait(executor: PoolExecutor) -> None:
    found: list[Any] = []
    done = threading.Event()

    def then(_future: Any) -> None:
        inner = executor.submit(time.sleep, 0.1)
        try:
            inner.result()
        except errors.NodeError as error:
            found.append(str(error))
        inner.add_done_callback(lambda _: done.set())

    executor.submit(abs, 1).add_done_callback(then)
    assert done.wait(30)
    assert not found or "thread" in found[0]


# Pools of an executor's own


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raises(error: BaseException) -> None:
    raise error


def test_workers_of_its_own_are_initialized(node: erl.Node) -> None:
    def first(text: str) -> None:
        os.environ["INITIALIZED"] = text

    with PoolExecutor(2, node=node, initializer=first, initargs=("so",)) as executor:
        assert executor._max_workers == 2
        assert executor.submit(os.getenv, "INITIALIZED").result(60) == "so"
        with pytest.raises(WorkerLostError):
            executor.submit(dies).result(30)
        assert {executor.submit(os.getenv, "INITIALIZED").result(60) for _ in range(8)} == {"so"}
        name = executor.pool
        assert name in node.pools
    eventually(lambda: name not in node.status()["pools"])


def test_an_initializer_that_fails_says_so_once(node: erl.Node, caplog: pytest.LogCaptureFixture) -> None:
    with PoolExecutor(1, node=node, initializer=raises, initargs=(ValueError("not today"),)) as executor:
        for _ in range(2):
            with pytest.raises(
                concurrent.futures.BrokenExecutor, match=r"raises failed.*make a new one\n.*"
            ) as caught:
                executor.submit(abs, 1).result(60)
            assert "ValueError: not today" in str(caught.value)
    with (
        PoolExecutor(1, node=node, initializer=dies) as executor,
        pytest.raises(concurrent.futures.BrokenExecutor, match=r"dies as on_start(.|\n)*signal 9"),
    ):
        executor.submit(abs, 1).result(60)
    node.func(abs, -1)  # whatever the node has logged is here, too
    assert [record.name for record in caplog.records if record.levelname == "CRITICAL"] == [
        "concurrent.futures"
    ] * 2
    assert reports(caplog) == []


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What OTP's processes have reported of themselves."""
    texts = [record.getMessage() for record in caplog.records]
    return [text for text in texts if "crasher:" in text or "supervisor:" in text]


def test_pools_that_start_at_once_are_no_news(node: erl.Node, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with contextlib.ExitStack() as stack:
        executors = [stack.enter_context(PoolExecutor(1, node=node)) for _ in range(4)]
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            assert [*threads.map(lambda each: each.submit(abs, -1).result(60), executors)] == [1] * 4
        assert len({each.pool for each in executors}) == 4
    assert reports(caplog) == []


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("initializer", [None, int])
def test_workers_are_replaced_after_so_many_tasks(
    node: erl.Node, most: int, initializer: type | None
) -> None:
    with PoolExecutor(1, node=node, max_tasks_per_child=most, initializer=initializer) as executor:
        futures = [executor.submit(os.getpid) for _ in range(6)]
        pids = [future.result(60) for future in futures]
    assert {pids.count(pid) for pid in pids} == {most}


def test_a_worker_is_chosen(executor: PoolExecutor) -> None:
    pids = {worker: executor.submit_to(worker, os.getpid).result(30) for worker in executor.workers}
    assert len(set(pids.values())) == 2
    for worker, pid in pids.items():
        assert executor.submit_to(worker, os.getpid).result(30) == pid


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": "2"}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"timeout": 1e12}, ValueError),
        ({"timeout": float("nan")}, ValueError),
        ({"retries": -1}, ValueError),
        ({"initializer": 5}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_workers": 1, "pool": "default"}, ValueError),
    ],
)
def test_arguments_are_checked(node: erl.Node, bad: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        PoolExecutor(node=node, **bad)


def test_an_unknown_pool_names_those_there_are(node: erl.Node) -> None:
    with pytest.raises(errors.NodeError, match="default"):
        node.executor(pool="other").submit(abs, 1)


# What a task says


def test_prints_come_to_the_stdout_of_the_moment(
    executor: PoolExecutor, capsys: pytest.CaptureFixture[str]
) -> None:
    executor.submit(print, "Grüße").result(30)
    assert "Grüße\n" in capsys.readouterr().out


def test_what_tasks_write_to_standard_error_appears_there(
    executor: PoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    executor.submit(lambda: print("Grüße", file=sys.stderr, flush=True)).result(30)
    executor.submit(os.system, "echo from a child >&2").result(30)
    # It comes by a pipe of its own.
    eventually(lambda: all(text in shown.getvalue() for text in ("Grüße\n", "from a child\n")))


def test_records_come_to_logging(executor: PoolExecutor, caplog: pytest.LogCaptureFixture) -> None:
    def logs() -> None:
        logging.getLogger("far.away").warning("tea is %s", "ready")

    executor.submit(logs).result(30)
    eventually(lambda: any(record.name == "far.away" for record in caplog.records))
    [record] = [record for record in caplog.records if record.name == "far.away"]
    assert (record.levelname, record.getMessage()) == ("WARNING", "tea is ready")


def test_warnings_are_issued_before_the_future_is_done(executor: PoolExecutor) -> None:
    def warns() -> int:
        warnings.warn("careful", UserWarning, stacklevel=2)
        return 5

    with pytest.warns(UserWarning, match="careful"):
        assert executor.submit(warns).result(30) == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        future = executor.submit(warns)
        concurrent.futures.wait([future], 30)
        with pytest.raises(UserWarning, match="careful"):
            future.result(30)


def test_the_path_of_the_driver_reaches_workers_later(executor: PoolExecutor, tmp_path: Path) -> None:
    (tmp_path / "found_later.py").write_text("def answer():\n    return 42\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import found_later  # type: ignore[import-not-found]

        assert executor.submit(found_later.answer).result(30) == 42
    finally:
        sys.path.remove(str(tmp_path))


def test_partials_and_methods_are_tasks(executor: PoolExecutor) -> None:
    assert executor.submit(functools.partial(pow, 2), 5).result(30) == 32
    assert executor.submit("tea".upper).result(30) == "TEA"
    with pytest.raises(TypeError, match="callable"):
        executor.submit(5)  # type: ignore[arg-type]


def test_an_executor_without_a_node_starts_one_and_the_exit_waits_for_its_tasks() -> None:
    program = (
        "import time; from erl.futures import PoolExecutor; executor = PoolExecutor();"
        "print(executor.submit(abs, -1).result(60)); executor.submit(time.sleep, 0.3);"
        "executor.submit(print, 'the last')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split("\n"), done.stderr) == (["1", "the last", ""], "")


def test_an_exit_does_not_wait_for_ever() -> None:
    program = (
        "import time; from erl.futures import PoolExecutor\n"
        "for _ in range(3): PoolExecutor(1).submit(time.sleep, 600)"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "are given up: 3. To wait for all" in done.stderr
    assert time.monotonic() - begun < 40


def test_code_does_not_go_by_value_to_another_version(
    executor: PoolExecutor, node: erl.Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(node.link.pools["default"], "python", (3, 9))
    ours = ".".join(map(str, sys.version_info[:2]))
    with pytest.raises(errors.NodeError, match=rf"Python {ours}.* Python 3\.9") as caught:
        executor.submit(lambda: 1).result(30)
    assert "lambda" in str(caught.value)
    assert executor.submit(abs, -1).result(30) == 1
