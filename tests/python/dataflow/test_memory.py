"""Partitions that don't fit into the workers' memory, and what moves between workers."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dataflow.engines import Numbers, flat, items
from processes import process_pool
from waiting import eventually

import erl
from erl.dataflow import Environment, OperationError, tasks
from erl.dataflow.store import Store, data_bytes
from erl.executors import ConcurrentExecutor, OtpExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator

numpy = pytest.importorskip("numpy")

MEGABYTE = 125_000


class Arrays(Numbers):
    """Arrays of a megabyte."""

    def next(self) -> Any:
        return numpy.full(MEGABYTE, float(super().next()))


@pytest.fixture
def small(node: erl.Node) -> Iterator[Environment]:
    """Two workers of 128 MiB each."""
    with Environment(node=node, resources=[{"cpu": 2, "ram": 256, "instances": 1}]) as made:
        yield made


def files_on_disk(pids: list[int]) -> int:
    """Files without a name that these processes have open."""
    found = 0
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                found += os.readlink(f"/proc/{pid}/fd/{fd}").endswith("(deleted)")
            except OSError:
                continue
    return found


@pytest.mark.parametrize("count", [4, 16], ids=["partitions larger than the memory", "small partitions"])
def test_four_times_the_memory_ends_right(small: Environment, count: int) -> None:
    each = 4 * 256 // count
    cached = small.create_source(Arrays(each), count).cache()
    balanced = None
    expected = MEGABYTE * count * sum(range(each))
    assert flat(cached.map(lambda array: float(array.sum())).reduce(lambda a, b: a + b)) == [expected]
    assert small.report.spilled_bytes > 500 * 8 * MEGABYTE
    executor = small._engine.executor
    figures = executor.each_worker(tasks.figures).values()
    assert all(0 < each["bytes_in_memory"] <= 64 << 20 for each in figures)
    assert files_on_disk(list(executor.each_worker(os.getpid).values())) >= 2
    assert cached.get_data().get_partition(count - 1).first()[0] == 0.0
    if count == 16:
        balanced = cached.partition(small.functions.partition.load_balanced)
        assert flat(balanced.map(lambda array: float(array.sum())).reduce(lambda a, b: a + b)) == [expected]
    cached = balanced = None
    flat(small.parallelize_list([1], 2))
    assert all(each["bytes_in_memory"] < 1 << 20 for each in executor.each_worker(tasks.figures).values())


def die_once(array: Any, flag: Path) -> Any:
    if array[0] == 5.0 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(array.sum())


def test_without_room_in_shared_memory_blocks_are_on_disk_and_go_with_their_worker(tmp_path: Path) -> None:
    node = erl.start({"default": {"size": 1}}, name="little-shared", max_shared_bytes=8 << 20)
    with node, Environment(node=node, resources=[{"cpu": 2, "instances": 1}]) as own:
        cached = own.create_source(Arrays(8), 4).cache()
        balanced = cached.partition(own.functions.partition.load_balanced)
        flag = tmp_path / "flag"
        sums = balanced.map(partial(die_once, flag=flag)).reduce(lambda a, b: a + b)
        assert flat(sums) == [4 * MEGABYTE * sum(range(8))]
        assert flag.exists()
        assert own.report.workers_lost == 1
        directory = node.link.scope.memory.directory
        assert sum(os.path.getsize(os.path.join(directory, name)) for name in os.listdir(directory)) < 8 << 20


def test_keys_that_don_t_fit_are_put_aside(small: Environment) -> None:
    text = "x" * 500
    pairs = small.parallelize_list(range(8), 8).flat_map(
        lambda part: (
            (number % 1000, text + str(number)) for number in range(part * 40_000, part * 40_000 + 40_000)
        )
    )
    sizes = flat(pairs.keyed_gather().map(lambda pair: (pair[0], len(pair[1]))))
    assert sorted(sizes) == [(key, 320) for key in range(1000)]


def test_what_does_not_fit_says_so(small: Environment) -> None:
    with pytest.raises(MemoryError, match=r"does not fit into the worker's memory") as caught:
        small.parallelize_list([1, 500_000_000], 2).map(bytearray).map(len).cache()
    assert isinstance(caught.value, OperationError)
    assert (caught.value.operation, caught.value.partition) == ("map(bytearray)", 1)
    assert flat(small.parallelize_list([5], 2).map(bytearray)) == [bytearray(5)]


def test_a_pool_that_holds_partitions_is_not_recycled(node: erl.Node) -> None:
    """At three quarters of their memory workers of other pools are replaced, between two calls."""
    with Environment(node=node, resources=[{"cpu": 1, "ram": 128, "instances": 1}]) as own:
        kept = own.create_source(Arrays(100), 1).cache()
        executor = own._engine.executor
        before = executor.each_worker(os.getpid)
        executor.each_worker(keep_much)
        for _ in range(3):
            assert flat(kept.map(len).reduce(max)) == [MEGABYTE]
        assert executor.each_worker(os.getpid) == before
        assert own.report.recomputed == 0


def test_a_worker_of_a_shared_pool_that_holds_partitions_is_not_recycled(node: erl.Node) -> None:
    with OtpExecutor(node, workers=1, options={"max_calls": 6}) as executor:

        def pids() -> set[int]:
            return {executor.run(os.getpid) for _ in range(10)}

        assert len(pids()) > 1
        with Environment(executor=executor) as own:
            kept = own.parallelize_list(range(4), 2).cache()
            assert len(pids()) == len(pids() | pids()) == 1
            assert flat(kept) == [0, 1, 2, 3]
            assert own.report.recomputed == 0
        eventually(lambda: len(pids()) > 1)


much: list[Any] = []


def keep_much() -> None:
    while data_bytes() < 105 << 20:
        much.append(bytearray(1 << 20))


def test_arrays_keep_what_they_are_on_their_way(node: erl.Node) -> None:
    with Environment(node=node, resources=[{"cpu": 2, "instances": 1}]) as own:
        arrays = [
            numpy.asfortranarray(numpy.arange(100_000.0).reshape(100, 1000)),
            numpy.arange(6, dtype=">i2").reshape(2, 3),
            numpy.zeros((0, 4), "f4"),
            numpy.array([(1, b"a")], [("number", "u8"), ("letter", "S1")]),
        ]
        moved = own.parallelize_list(arrays, 1).partition(own.functions.partition.load_balanced, 4).cache()
        for array, found in zip(arrays, flat(moved), strict=True):
            assert (array == found).all()
            assert (found.dtype, found.shape, found.flags.f_contiguous) == (
                array.dtype,
                array.shape,
                array.flags.f_contiguous,
            )
            found[...] = found  # it is the reader's own


def test_workers_that_keep_nothing_have_their_partitions_sent() -> None:
    """Over an executor of processes no task can be sent to a certain worker."""
    with (
        process_pool(2) as inner,
        ConcurrentExecutor(inner) as executor,
        Environment(executor=executor) as own,
    ):
        kept = own.create_source(Arrays(2), 3).map(lambda array: array + 1).cache()
        assert flat(kept.map(lambda array: float(array[0]))) == [1.0, 2.0] * 3
        total = kept.all_reduce(lambda a, b: a + b).map(lambda array: float(array[0]))
        assert items(total) == [[9.0]] * 3
        pairs = kept.map(lambda array: (int(array[0]), 1)).keyed_reduce(lambda a, b: a + b)
        assert sorted(flat(pairs)) == [(1, 3), (2, 3)]


def test_a_shared_pool_s_own_limit_is_heeded(node: erl.Node) -> None:
    options = {"max_memory": 128 << 20, "recycle": "never"}
    with OtpExecutor(node, workers=1, options=options) as executor, Environment(executor=executor) as own:
        kept = own.create_source(Arrays(200), 2).cache()
        assert own.report.spilled_bytes > 0
        assert flat(kept.map(len).reduce(lambda a, b: a + b)) == [2 * 200 * MEGABYTE]


def test_what_can_not_be_pickled_stays_in_memory() -> None:
    store = Store()
    store._budget = 1000
    store.keep(("env", 1, 0), [[lambda: 1] for _ in range(3)])
    store.keep(("env", 1, 1), ([bytes(2000)] for _ in range(3)))
    assert [each() for batch in store.batches(("env", 1, 0)) for each in batch] == [1, 1, 1]
    assert [len(each) for batch in store.batches(("env", 1, 1)) for each in batch] == [2000] * 3
    store.drop_environment("env")
    assert store.figures()["bytes_in_memory"] == 0
