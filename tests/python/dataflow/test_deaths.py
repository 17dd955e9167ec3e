"""A worker is killed in the middle of each operation, and between them: the answer is the same."""

from __future__ import annotations

import contextlib
import operator
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flows import IntegerSource, items
from waiting import eventually

import erl
from erl.dataflow import Environment, PartitionFunc, TSet
from erl.executors import OtpExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def mortal() -> Iterator[erl.Node]:
    """A node whose workers may die as often as tests want."""
    options = {"size": 2, "restart": {"max": 1000, "within": 10000}}
    with erl.start({"default": options}, name="mortal") as running:
        yield running


@pytest.fixture
def env(mortal: erl.Node) -> Iterator[Environment]:
    with OtpExecutor(mortal, "default") as executor:
        made = Environment(executor=executor)
        yield made
        made.close()


@pytest.fixture
def once(tmp_path: Path) -> Once:
    return Once(tmp_path / "armed")


def workers(node: erl.Node) -> set[int]:
    return {each["os_pid"] for each in node.status()["pools"]["default"]["workers"] if each.get("os_pid")}


def kill(node: erl.Node, how_many: int = 2) -> None:
    """Kill so many workers, and wait for others in their places."""
    killed = sorted(workers(node))[:how_many]
    for os_pid in killed:
        os.kill(os_pid, signal.SIGKILL)
    eventually(lambda: len(workers(node)) == 2 and not workers(node) & set(killed), 60)


class Once:
    """Kills the process that it is in, once after it was armed; never this one. It gives what it was given."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag
        self.driver = os.getpid()

    def arm(self) -> None:
        self.flag.touch()

    @property
    def is_spent(self) -> bool:
        return not self.flag.exists()

    def kill(self) -> None:
        if os.getpid() != self.driver:
            try:
                os.unlink(self.flag)
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, x: Any) -> Any:
        self.kill()
        return x

    def adding(self, x: Any, y: Any) -> Any:
        self.kill()
        return x + y


class Deadly:
    """An item that kills the worker that pickles it, once: in the middle of whatever moves items."""

    def __init__(self, once: Once, value: int) -> None:
        self.once = once
        self.value = value

    def __reduce__(self) -> Any:
        self.once.kill()
        return Deadly, (self.once, self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deadly) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)


class DeadlySource(IntegerSource):
    def __init__(self, limit: int, once: Once) -> None:
        super().__init__(limit)
        self.once = once

    def next(self) -> int:
        if self.x == 3:
            self.once.kill()
        return super().next()


class DeadlyPartition(PartitionFunc):
    def __init__(self, once: Once) -> None:
        self.once = once
        self.destinations: list[int] = []

    def prepare(self, sources: Any, destinations: Any) -> None:
        self.destinations = sorted(destinations)

    def partition(self, source_index: int, val: int) -> int:
        self.once.kill()
        return self.destinations[val % len(self.destinations)]

    def commit(self, source_index: int, partition: int) -> int:
        return partition


def collecting(once: Once) -> Any:
    def collect(itr: Iterator[int], collector: Any, ctx: Any) -> None:
        for x in itr:
            once.kill()
            collector.collect(x)

    return collect


def pairs(of: TSet) -> TSet:
    return of.map(lambda x: (x % 3, x))


def deadly(of: TSet, once: Once) -> TSet:
    return of.map(lambda x: Deadly(once, x))


def values(of: Any) -> list[Any]:
    return [each.value if isinstance(each, Deadly) else each for each in items(of)]


OPERATIONS: dict[str, Callable[[Environment, TSet, Once, Path], Any]] = {
    "source": lambda env, of, once, path: items(env.create_source(DeadlySource(5, once), 3)),
    "map": lambda env, of, once, path: items(of.map(once)),
    "flat_map": lambda env, of, once, path: items(of.flat_map(lambda x: [once(x)] * 2)),
    "compute": lambda env, of, once, path: items(of.compute(lambda itr: sum(map(once, itr)))),
    "compute, collected": lambda env, of, once, path: items(of.compute(collecting(once))),
    "reduce": lambda env, of, once, path: items(of.reduce(once.adding)),
    "all_reduce": lambda env, of, once, path: items(of.all_reduce(once.adding)),
    "gather": lambda env, of, once, path: [(i, x.value) for i, x in items(deadly(of, once).gather())],
    "all_gather": lambda env, of, once, path: [(i, x.value) for i, x in items(deadly(of, once).all_gather())],
    "partition": lambda env, of, once, path: items(of.partition(DeadlyPartition(once))),
    "keyed_reduce": lambda env, of, once, path: sorted(items(pairs(of).keyed_reduce(once.adding))),
    "keyed_gather": lambda env, of, once, path: sorted(
        (key, [each.value for each in found])
        for key, found in items(of.map(lambda x: (x % 3, Deadly(once, x))).keyed_gather())
    ),
    "keyed_partition": lambda env, of, once, path: sorted(
        items(pairs(of).keyed_partition(DeadlyPartition(once)))
    ),
    "join": lambda env, of, once, path: sorted(
        (key, (one.value, other))
        for key, (one, other) in items(of.map(lambda x: (x % 3, Deadly(once, x))).join(pairs(of), "inner"))
    ),
    "union": lambda env, of, once, path: sorted(items(of.map(once).union(of.map(once)))),
    "cache": lambda env, of, once, path: items(of.map(once).cache().cache()),
    "lazy_cache": lambda env, of, once, path: items(of.map(once).lazy_cache()),
    "persist": lambda env, of, once, path: items(of.map(once).persist(str(path))),
    "persist, written": lambda env, of, once, path: values(deadly(of, once).persist(str(path))),
    "an input": lambda env, of, once, path: items(
        of.map(lambda x, ctx: x + ctx.get_input("one").first()).add_input("one", of.map(once))
    ),
    "get_data": lambda env, of, once, path: [
        each.value for part in deadly(of, once).get_data().get_partitions() for each in part.consumer()
    ],
    "run": lambda env, of, once, path: of.map(once).run(),
    "for_each": lambda env, of, once, path: of.for_each(once),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_worker_killed_in_the_middle_changes_nothing(
    env: Environment, once: Once, tmp_path: Path, name: str
) -> None:
    operation = OPERATIONS[name]
    kept = env.parallelize_list(list(range(1, 13)), 4).cache()
    expected = operation(env, kept, once, tmp_path / "quietly")
    once.arm()
    assert operation(env, kept, once, tmp_path / "killed") == expected
    assert once.is_spent
    # And what was lost with that worker is there for the next one.
    assert items(kept) == list(range(1, 13))


@pytest.mark.parametrize("how_many", [1, 2])
def test_cached_partitions_are_made_again_from_the_last_thing_left(
    mortal: erl.Node, env: Environment, tmp_path: Path, how_many: int
) -> None:
    calls = tmp_path / "calls"

    def counted(x: int) -> int:
        with open(calls, "a") as file:
            file.write(".")
        return x * 5

    first = env.create_source(IntegerSource(10), 4).map(counted).cache()
    second = first.map(lambda x: x + 1).cache()
    assert sum(items(second)) == 1140
    assert len(calls.read_text()) == 40
    kill(mortal, how_many)
    assert sum(items(second)) == 1140
    # Only those that were lost: of one worker of two not all four.
    made_again = len(calls.read_text()) - 40
    assert made_again in ((10, 20, 30) if how_many == 1 else (40,))


def test_persisted_set_cuts_the_chain(mortal: erl.Node, env: Environment, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    def counted(x: int) -> int:
        with open(calls, "a") as file:
            file.write(".")
        return x * 5

    kept = env.create_source(IntegerSource(10), 4).map(counted).persist(str(tmp_path / "kept"))
    behind = kept.map(lambda x: x + 1).cache()
    kill(mortal)
    assert sum(items(behind)) == 1140
    assert len(calls.read_text()) == 40


def test_integers_of_the_document_again_after_a_kill_of_every_worker(
    mortal: erl.Node, env: Environment, tmp_path: Path
) -> None:
    """'Must show' 1 of the specification."""

    def source_0_to(limit: int) -> TSet:
        return env.create_source(IntegerSource(limit), 4).map(lambda x: x - 1)

    def chain(of: TSet, z: TSet) -> TSet:
        more = of.compute(lambda itr: [x * 5 for x in itr]).compute(lambda itr: [x + 2 for x in next(itr)])
        return more.map(lambda xs, ctx: [x + ctx.get_input("z").first() for x in xs]).add_input("z", z)

    def total(of: TSet) -> list[int]:
        return items(of.map(sum).reduce(operator.add))

    assert len(items(env.create_source(IntegerSource(10), 4))) == 40
    assert items(env.create_source(IntegerSource(10), 4).reduce(operator.add)) == [220]
    nothing, some = (env.parallelize_list([each] * 4, 4).cache() for each in (0, 4.5))
    assert total(chain(source_0_to(10), nothing)) == [980]
    cached = chain(source_0_to(10), some).cache()
    assert total(cached) == [1160]
    persisted = chain(source_0_to(10_000), nothing).persist(str(tmp_path / "kept"))
    assert total(persisted) == [999_980_000]
    kill(mortal)
    assert total(persisted) == [999_980_000]
    assert total(cached) == [1160]


def test_random_source_made_again_is_the_same(mortal: erl.Node, env: Environment) -> None:
    numpy = pytest.importorskip("numpy")

    class Points(IntegerSource):
        def next(self) -> Any:
            super().next()
            import random

            import numpy

            return numpy.append(numpy.random.rand(5), random.random())

    kept = env.create_source(Points(2), 4).cache()
    before = numpy.array(items(kept))
    assert len(numpy.unique(before)) == before.size
    kill(mortal)
    assert numpy.array_equal(numpy.array(items(kept)), before)


def test_report_counts_what_was_made_again(mortal: erl.Node, env: Environment) -> None:
    kept = env.create_source(IntegerSource(10), 4).cache()
    quiet = str(env.report)
    kill(mortal)
    assert sum(items(kept)) == 220
    assert str(env.report) != quiet


def test_driver_kills_workers_again_and_again(mortal: erl.Node, env: Environment) -> None:
    import threading

    ended = threading.Event()

    def killing() -> None:
        for _ in range(3):  # a fourth death in one task would be the end of it
            if ended.wait(0.7):
                return
            for os_pid in sorted(workers(mortal))[:1]:
                with contextlib.suppress(ProcessLookupError):  # it has gone since
                    os.kill(os_pid, signal.SIGKILL)

    def slow(x: int) -> int:
        time.sleep(0.02)
        return x

    killer = threading.Thread(target=killing)
    killer.start()
    try:
        kept = env.create_source(IntegerSource(10), 4).map(slow).cache()
        for _ in range(3):
            kept = (
                kept.map(slow).map(lambda x: (x % 2, x)).keyed_gather().flat_map(lambda pair: pair[1]).cache()
            )
            assert sum(items(kept)) == 220
    finally:
        ended.set()
        killer.join()
