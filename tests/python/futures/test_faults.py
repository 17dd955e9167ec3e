"""What goes wrong in a task, and around one: it costs that task alone, and says what it was."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

import erl
from erl import errors
from erl.futures import PoolExecutor, RemoteError, TaskTimeoutError, WorkerLostError

# Errors


class OwnError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)
        self.one = one


class CantBeCalledAgainError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


class CantBePickledError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def raises(error: BaseException) -> None:
    raise error


def test_an_error_is_its_class_with_the_remote_traceback(executor: PoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        executor.submit(lambda: 1 / 0).result(30)
    assert "1 / 0" in str(caught.value.__cause__)
    with pytest.raises(OwnError) as own:
        executor.submit(raises, OwnError(1, 2)).result(30)
    assert own.value.one == 1


async def waits(number: int) -> int:
    return number


def test_a_coroutine_function_is_refused_with_what_to_do(executor: PoolExecutor) -> None:
    with pytest.raises(TypeError, match=r"^waits is a coroutine function.*asyncio\.run"):
        executor.submit(waits, 1).result(60)
    assert executor.submit(lambda: asyncio.run(waits(1))).result(60) == 1


def test_an_error_whose_init_wants_other_arguments_is_itself(executor: PoolExecutor) -> None:
    def failing() -> None:
        raise CantBeCalledAgainError(1, 2)

    with pytest.raises(CantBeCalledAgainError, match="1 and 2") as caught:
        executor.submit(failing).result(30)
    assert caught.value.one == 1


def test_an_error_that_cant_be_pickled_is_described(executor: PoolExecutor) -> None:
    def failing() -> None:
        raise CantBePickledError("no way")

    with pytest.raises(RemoteError, match="no way") as caught:
        executor.submit(failing).result(30)
    assert caught.value.class_name.endswith("CantBePickledError")
    assert "failing" in str(caught.value.__cause__)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError("much")])
def test_what_ends_a_program_elsewhere_is_a_tasks_error(executor: PoolExecutor, error: BaseException) -> None:
    future = executor.submit(raises, error)
    assert type(future.exception(30)) is type(error)
    assert executor.submit(abs, -1).result(30) == 1


def test_what_cant_be_pickled_is_named(executor: PoolExecutor) -> None:
    future = executor.submit(len, (number for number in ()))
    with pytest.raises(TypeError, match="argument 1: cannot pickle 'generator' object"):
        future.result(30)
    future = executor.submit(lambda *, lock: lock, lock=threading.Lock())
    with pytest.raises(TypeError, match="argument 'lock': cannot pickle"):
        future.result(30)
    with pytest.raises(TypeError, match="the result: cannot pickle"):
        executor.submit(threading.Lock).result(30)


class Exits:
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


class ExitsHere:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __reduce__(self) -> Any:
        return exits_in, (self.pid,)


def exits_in(pid: int) -> ExitsHere:
    if os.getpid() == pid:
        sys.exit(3)
    return ExitsHere(pid)


def test_an_exit_while_something_is_read_ends_nobody(executor: PoolExecutor) -> None:
    assert isinstance(executor.submit(len, Exits()).exception(30), SystemExit)
    with pytest.raises(RemoteError, match="SystemExit"):
        executor.submit(ExitsHere, os.getpid()).result(30)
    assert executor.submit(abs, -1).result(30) == 1


# Deaths, deadlines, ends


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_dead_worker_costs_its_task_alone(executor: PoolExecutor) -> None:
    slow = [executor.submit(time.sleep, 0.2) for _ in range(4)]
    lost = executor.submit(dies)
    after = [executor.submit(abs, -number) for number in range(50)]
    with pytest.raises(WorkerLostError) as caught:
        lost.result(30)
    assert isinstance(caught.value, concurrent.futures.BrokenExecutor)
    assert [future.result(30) for future in after] == list(range(50))
    assert sum(future.exception(30) is not None for future in slow) <= 1


def dies_once(path: str) -> str:
    if not os.path.exists(path):
        with open(path, "w"):
            dies()
    return "lived"


def test_a_task_that_may_run_again_does(node: erl.Node, tmp_path: Path) -> None:
    with node.executor(retries=2) as executor:
        assert executor.submit(dies_once, str(tmp_path / "died")).result(30) == "lived"
        with pytest.raises(WorkerLostError):
            executor.submit(dies).result(60)


def test_a_task_may_take_so_long(node: erl.Node) -> None:
    with node.executor(timeout=0.3) as executor:
        future = executor.submit(time.sleep, 60)
        with pytest.raises(TaskTimeoutError):
            future.result(30)
        assert isinstance(future.exception(), TimeoutError)
        assert executor.submit(abs, -1).result(30) == 1


def test_a_running_task_is_killed(executor: PoolExecutor, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def long(path: str) -> None:
        with open(path, "w"):
            pass
        time.sleep(60)

    future = executor.submit(long, str(begun))
    eventually(begun.exists)
    assert not future.cancel()
    assert future.kill()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(30)
    assert future.cancelled()
    assert not future.kill()
    assert executor.submit(abs, -1).result(30) == 1


def test_a_node_or_an_executor_stays_where_it_is(executor: PoolExecutor, node: erl.Node) -> None:
    for value, what in ((node, r"erl\.here\(\)"), (executor, r"PoolExecutor\(\) is one")):
        with pytest.raises(TypeError, match=rf"argument 1: cannot pickle .*{what}"):
            executor.submit(str, value).result(30)
        with pytest.raises(TypeError, match=rf"the function: cannot pickle .*{what}"):
            executor.submit(lambda value=value: value).result(30)


def test_what_waits_is_cancelled(executor: PoolExecutor) -> None:
    futures = [executor.submit(time.sleep, 0.3) for _ in range(10)]
    assert futures[-1].cancel()
    assert futures[-1].cancelled()
    assert [future.exception(30) for future in futures[:-1]] == [None] * 9


def test_a_shutdown_that_cancels_is_bounded(node: erl.Node) -> None:
    executor = node.executor()
    futures = [executor.submit(time.sleep, 0.3) for _ in range(50)]
    begun = time.monotonic()
    executor.shutdown(cancel_futures=True)
    assert time.monotonic() - begun < 10
    assert all(future.done() for future in futures)
    assert sum(future.cancelled() for future in futures) > 20
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, 1)


def test_a_shutdown_that_cancels_does_not_wait_for_what_runs_for_ever(node: erl.Node) -> None:
    def stubborn() -> None:
        while True:
            try:
                time.sleep(600)
            except BaseException:
                continue

    executor = node.executor()
    futures = [executor.submit(*task) for task in [(time.sleep, 600), (stubborn,)] + [(time.sleep, 600)] * 20]
    eventually(lambda: all(future.running() for future in futures[:2]))
    begun = time.monotonic()
    executor.shutdown(cancel_futures=True)
    assert time.monotonic() - begun < 60
    assert all(future.cancelled() for future in futures)
    with node.executor() as another:
        assert {another.submit(abs, -1).result(60) for _ in range(4)} == {1}


def test_a_shutdown_that_does_not_wait_finishes_what_there_is(node: erl.Node) -> None:
    executor = node.executor(max_workers=1)
    futures = [executor.submit(time.sleep, 0.05) for _ in range(4)]
    executor.shutdown(wait=False)
    assert [future.result(30) for future in futures] == [None] * 4


def test_an_interrupted_wait_leaves_task_and_pool(executor: PoolExecutor) -> None:
    future = executor.submit(time.sleep, 1)
    timer = threading.Timer(0.3, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        future.result(30)
    timer.join()
    assert future.running()
    assert future.result(30) is None


def test_a_handler_of_a_signal_may_submit(executor: PoolExecutor) -> None:
    made: list[Any] = []
    before = signal.signal(signal.SIGALRM, lambda *_: made.append(executor.submit(abs, -7)))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        futures = [executor.submit(abs, -number) for number in range(3000)]
        results = [future.result(60) for future in futures]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert results == list(range(3000))
    assert {future.result(60) for future in made} == {7}


def test_interrupts_at_any_moment_lose_no_task() -> None:
    program = Path(__file__).parents[1] / "interrupted_submits.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_a_task_that_takes_too_much_memory_says_so(node: erl.Node) -> None:
    with erl.start({"small": {"size": 1, "max_memory": 300_000_000}}, name="small") as small:
        executor = small.executor(pool="small")
        with pytest.raises((MemoryError, WorkerLostError)) as caught:
            executor.submit(bytearray, 2_000_000_000).result(60)
        assert isinstance(caught.value, MemoryError) or "memory" in str(caught.value)
        assert executor.submit(abs, -1).result(60) == 1


# Callbacks, counts, odd errors


def test_a_callback_that_raises_costs_nobody_anything(executor: PoolExecutor) -> None:
    future = executor.submit(time.sleep, 0.1)
    other = executor.submit(time.sleep, 0.3)
    future.add_done_callback(lambda _: sys.exit(3))
    assert other.result(30) is None
    assert executor.submit(abs, -1).result(30) == 1


def test_a_callback_may_shut_its_executor_down(node: erl.Node) -> None:
    executor = node.executor()
    done = threading.Event()
    other = executor.submit(time.sleep, 0.5)
    executor.submit(abs, 1).add_done_callback(lambda _: (executor.shutdown(), done.set()))
    assert done.wait(30)
    assert other.result(30) is None


def test_a_pool_of_its_own_goes_with_an_executor_that_nobody_has(node: erl.Node) -> None:
    def used() -> str:
        executor = PoolExecutor(1, node=node)
        executor.submit(abs, -1).result(60)
        return executor.pool

    name = used()
    gc.collect()
    eventually(lambda: name not in node.status()["pools"])


def counter() -> Any:
    number = 0

    def more() -> int:
        nonlocal number
        number += 1
        return number

    return more


def test_what_a_function_changes_is_not_there_in_the_next_task(executor: PoolExecutor) -> None:
    more = counter()
    assert [executor.submit(more).result(30) for _ in range(6)] == [1] * 6


def test_more_calls_than_the_node_takes_wait_here(node: erl.Node) -> None:
    async def many() -> list[Any]:
        return await asyncio.gather(*(node.acall("lists", "sum", [[number]]) for number in range(5000)))

    assert asyncio.run(many()) == list(range(5000))


def odd(number: int) -> int:
    if number == 500:
        raise CantBeCalledAgainError(number, 1)
    return number


def test_a_chunk_gives_what_comes_before_an_odd_error(executor: PoolExecutor) -> None:
    got: list[int] = []
    results = executor.map(odd, range(1000))
    with pytest.raises(CantBeCalledAgainError, match="500 and 1"):
        got.extend(results)
    assert got == list(range(500))


class OddError(Exception):
    def __reduce__(self) -> Any:
        raise SystemExit(9)


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise SystemExit(9)


def raises_odd(kind: str) -> None:
    raise {"odd": OddError("text"), "speechless": SpeechlessError(threading.Lock())}[kind]


@pytest.mark.parametrize("kind", ["odd", "speechless"])
def test_an_error_whose_own_code_fails_keeps_its_name(executor: PoolExecutor, kind: str) -> None:
    error = executor.submit(raises_odd, kind).exception(30)
    assert "Error" in (type(error).__name__ if not isinstance(error, RemoteError) else error.class_name)
    assert "b'" not in str(type(error))


def test_a_shutdown_waits_for_callbacks(node: erl.Node) -> None:
    called: list[int] = []
    with node.executor() as executor:
        future = executor.submit(time.sleep, 0.1)
        future.add_done_callback(lambda _: (time.sleep(0.2), called.append(1)))
    assert called == [1]


def test_an_error_that_cant_be_read_is_its_calls(node: erl.Node) -> None:
    deep = "lists:foldl(fun(_, A) -> [A] end, [], lists:seq(1, 20000))"
    parsed = node.call("erl_scan", "string", [list(f"erlang:error({deep}).".encode())])
    expressions = node.call("erl_parse", "parse_exprs", [parsed[1]])
    with pytest.raises(errors.BridgeError):
        node.call("erl_eval", "exprs", [expressions[1], []])
    assert node.call("lists", "sum", [[1]]) == 1
