"""Workers, drivers and nodes that die in the middle of a dataflow."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dataflow.engines import Numbers, flat, items, of_pool
from waiting import eventually

import erl
from erl.dataflow import Environment, PartitionFunc, tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def env(node: erl.Node) -> Iterator[Environment]:
    with of_pool(node) as made:
        yield made


def die_once(flag: Path) -> None:
    """End this worker as a fault of the machine would, the first time."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Dying:
    """A function that ends its worker the first time that it meets an item."""

    def __init__(self, flag: Path, function: Callable[..., Any], at: Any) -> None:
        self.flag = flag
        self.function = function
        self.at = at

    def __call__(self, *args: Any) -> Any:
        if self.at in args:
            die_once(self.flag)
        return self.function(*args)


class DyingSource(Numbers):
    def __init__(self, limit: int, flag: Path) -> None:
        super().__init__(limit)
        self.flag = flag

    def next(self) -> int:
        if self.at == 3:
            die_once(self.flag)
        return super().next()


class DyingEnds(PartitionFunc):
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def prepare(self, sources: set[int], destinations: set[int]) -> None:
        self.count = len(destinations)

    def partition(self, source_index: int, val: Any) -> int:
        if val == 5:
            die_once(self.flag)
        return int(val) % self.count

    def commit(self, source_index: int, partition: int) -> None:
        """Nothing."""


def pairs(env: Environment, dying: Callable[..., Any] = lambda x: x) -> Any:
    return env.parallelize_list(range(12), 4).map(dying).map(lambda x: (x % 3, x))


OPERATIONS: dict[str, Callable[[Environment, Path], Any]] = {
    "source": lambda env, flag: env.create_source(DyingSource(6, flag), 4),
    "fold of all": lambda env, flag: env.parallelize_list(range(4), 4).all_reduce(
        Dying(flag, operator.add, 3)
    ),
    "behind gather": lambda env, flag: (
        env.parallelize_list(range(12), 4).all_gather().map(Dying(flag, str, (2, 7)))
    ),
    "partition": lambda env, flag: env.parallelize_list(range(12), 4).partition(DyingEnds(flag)),
    "folds of keys": lambda env, flag: pairs(env).keyed_reduce(Dying(flag, operator.add, 9)),
    "keyed_partition": lambda env, flag: pairs(env).map(lambda x: (x[1], x)).keyed_partition(DyingEnds(flag)),
    "union": lambda env, flag: pairs(env, Dying(flag, abs, 7)).union(pairs(env)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_worker_killed_in_an_operation_changes_nothing(env: Environment, tmp_path: Path, name: str) -> None:
    flag = tmp_path / "flag"
    lost = env.report.workers_lost
    found = items(OPERATIONS[name](env, flag))
    assert flag.exists()
    assert env.report.workers_lost == lost + 1
    assert items(OPERATIONS[name](env, flag)) == found
    with Environment(executor="inline") as alone:
        assert items(OPERATIONS[name](alone, flag)) == found


def test_what_it_printed_before_is_printed_once(
    env: Environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = tmp_path / "flag"

    def told(x: int) -> None:
        print(x)
        if x == 7:
            die_once(flag)

    env.parallelize_list(range(12), 4).for_each(told)
    assert capsys.readouterr().out == "".join(f"{x}\n" for x in range(12))


def kill_workers(env: Environment, which: slice = slice(None)) -> None:
    """Those that are idle."""
    executor = env._engine.executor
    for worker in env._engine.workers()[which]:
        os.kill(executor.run_on(worker, os.getpid), signal.SIGKILL)


def test_only_what_a_lost_worker_had_is_made_again(env: Environment) -> None:
    import random

    source = env.create_source(Numbers(3), 10).map(lambda x: (x, random.random())).cache()
    before = items(source)
    other = source.map(lambda x: x[1]).cache()
    count = env.report.recomputed
    kill_workers(env, slice(1))
    assert items(source) == before
    assert env.report.recomputed == count + 5
    assert items(other) == [[y for _, y in each] for each in before]
    assert env.report.recomputed == count + 10
    assert items(source) == before
    assert env.report.recomputed == count + 10


def test_sets_that_nobody_has_are_free_and_made_again_on_the_way(env: Environment) -> None:
    made = env.parallelize_list(range(8), 4).cache()
    for _ in range(5):
        made = made.map(lambda x: x + 1).cache()
    flat(env.parallelize_list([1], 1))
    executor = env._engine.executor
    assert sum(each["partitions"] for each in executor.each_worker(tasks.figures).values()) <= 5 * 4
    count = env.report.recomputed
    kill_workers(env)
    assert flat(made) == list(range(5, 13))
    assert env.report.recomputed == count + 4


def test_what_is_made_again_is_made_by_the_functions_of_then(env: Environment) -> None:
    """A function goes by value with what it names, and that changes in a loop."""
    made = env.parallelize_list(range(4), 2).cache()
    sets = []
    for shift in (1, 10, 100):
        made = made.map(lambda x: x + shift)  # noqa: B023
        sets += [made.cache(), made.lazy_cache()]
        made = sets[-1 if shift == 10 else -2]
    expected = [[x + total for x in range(4)] for total in (1, 1, 11, 11, 111, 111)]
    assert [flat(each) for each in sets] == expected
    last = sets[-2]
    sets.clear()
    del made
    flat(env.parallelize_list([1], 1))
    kill_workers(env)
    assert flat(last) == expected[-1]


def test_persisted_sets_are_read_again(env: Environment, tmp_path: Path) -> None:
    flag = tmp_path / "evaluated"

    def noted(x: int) -> int:
        with flag.open("a") as file:
            file.write(f"{x}\n")
        return 5 * x

    persisted = (
        env.create_source(Numbers(10_000), 4).map(lambda x: 5 * x).map(lambda x: x).persist(tmp_path / "set")
    )
    assert flat(persisted.reduce(operator.add)) == [4 * 5 * sum(range(10_000))]
    small = env.parallelize_list(range(4), 2).map(noted).persist(tmp_path / "set")
    kill_workers(env)
    assert flat(persisted.reduce(operator.add)) == [4 * 5 * sum(range(10_000))]
    assert flat(small) == [0, 5, 10, 15]
    assert sorted(flag.read_text().split()) == ["0", "1", "2", "3"]
    assert list((tmp_path / "set").iterdir())
    behind = small.map(lambda x: x + 1).cache()
    del small
    shared = env.parallelize_list(range(4), 2).map(noted).persist()
    kill_workers(env)
    assert flat(behind) == [1, 6, 11, 16]
    assert flat(shared.map(lambda x: x + 1)) == [1, 6, 11, 16]
    assert len(flag.read_text().split()) == 8


def test_a_task_whose_workers_die_again_and_again_is_given_up(env: Environment) -> None:
    with pytest.raises(erl.errors.WorkerLostError, match=r"map-\d+, partition 1: 4 workers have died of it"):
        env.parallelize_list(range(2), 2).map(lambda x: os.kill(os.getpid(), 9) if x else x).cache()
    assert flat(env.parallelize_list(range(2), 2).map(lambda x: x)) == [0, 1]


class Endless(Numbers):
    def __init__(self, begun: Path) -> None:
        super().__init__(1)
        self.begun = begun

    def has_next(self) -> bool:
        return True

    def next(self) -> int:
        self.begun.touch()
        return super().next()


@pytest.mark.parametrize("engine", ["inline", "threads", "pool"])
def test_an_endless_source_is_interrupted(node: erl.Node, tmp_path: Path, engine: str) -> None:
    """As ^C does it: by a signal to the program, which the main thread gets wherever it is."""
    with of_pool(node) if engine == "pool" else Environment(executor=engine) as own:
        begun = tmp_path / "begun"
        source = own.create_source(Endless(begun), 2).map(lambda x: x % 7)

        def interrupt() -> None:
            eventually(begun.exists)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                source.reduce(operator.add).cache()
        finally:
            thread.join()
        assert flat(own.parallelize_list(range(3), 3).map(abs)) == [0, 1, 2]
        if engine == "pool":
            assert set(own._engine.executor.each_worker(abs, -1).values()) == {1}


def test_the_end_of_the_node_is_said() -> None:
    with erl.start({"default": {"size": 1}}, name="dataflow-end") as own:
        env = of_pool(own)
        kept = env.parallelize_list(range(4), 2).cache()
        own.stop()
        with pytest.raises(erl.errors.NodeError):
            flat(kept)
        env.close()


DRIVER = """
import sys, time
import erl
from erl.dataflow import Environment
from erl.executors import OtpExecutor
node = erl.connect(sys.argv[1])
env = Environment(executor=OtpExecutor(node, "shared"))
kept = env.parallelize_list(range(1000), 4).cache()
print(kept.reduce(lambda a, b: a + b).get_data().get_partition(0).first(), flush=True)
time.sleep(600)
"""


def test_a_killed_driver_leaves_nothing_in_a_shared_pool() -> None:
    with erl.start({"shared": {"size": 2}}, name="dataflow-shared") as own:
        driver = subprocess.Popen(
            [sys.executable, "-c", DRIVER, own.socket], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        try:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "499500\n"
            with erl.executors.OtpExecutor(own, "shared") as executor:

                def partitions() -> int:
                    return sum(each["partitions"] for each in executor.each_worker(tasks.figures).values())

                assert partitions() >= 4
                files = set(os.listdir(own.link.scope.memory.directory))
                assert files
                driver.kill()
                driver.wait()
                eventually(lambda: partitions() == 0)
                eventually(lambda: not files & set(os.listdir(own.link.scope.memory.directory)))
        finally:
            driver.kill()
            driver.wait()
            driver.stdout.close()  # type: ignore[union-attr]


def test_a_closed_environment_leaves_nothing_in_a_shared_pool(node: erl.Node) -> None:
    directory = node.link.scope.memory.directory
    before = set(os.listdir(directory))
    with erl.executors.OtpExecutor(node, "default") as executor:
        with Environment(executor=executor) as own:
            kept = own.parallelize_list(range(100_000), 4).cache()
            balanced = kept.partition(own.functions.partition.load_balanced).cache()
            assert len(flat(balanced)) == 100_000
        eventually(
            lambda: sum(each["partitions"] for each in executor.each_worker(tasks.figures).values()) == 0
        )
        del kept, balanced
        eventually(lambda: set(os.listdir(directory)) <= before)
        with pytest.raises(RuntimeError, match="the environment is closed"):
            own.parallelize_list([1], 1).cache()
