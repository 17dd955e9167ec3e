"""Each operation of a data flow, on each kind of executor: the same answers."""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any

import pytest
from flows import IntegerSource, items, partitions

from erl.dataflow import (
    DataObject,
    DataPartition,
    Environment,
    KeyedTSet,
    PartitionFunc,
    SourceFunc,
    TLink,
    TSet,
    TSetContext,
    Twister2Environment,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def words(env: Environment) -> KeyedTSet:
    """Three partitions of pairs, whose keys meet across them."""
    pairs = [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5), ("a", 6)]
    return env.parallelize_list(pairs, 3)


def test_environment_tells_what_it_is(env: Environment) -> None:
    assert Twister2Environment is Environment
    assert env.config["sample_config"] == 123
    assert isinstance(env.worker_id, int)
    assert list(env.peers()) != []


def test_source_is_copied_for_each_partition(env: Environment) -> None:
    source = env.create_source(IntegerSource(10), 4)
    assert isinstance(source, TSet)
    assert source.parallelism == 4
    assert partitions(source) == [list(range(1, 11))] * 4
    assert items(source.reduce(operator.add)) == [220]


def test_source_needs_no_init_of_its_base_and_may_come_from_main(env: Environment) -> None:
    class Bare(SourceFunc):
        def __init__(self) -> None:
            self.left = [3, 2, 1]

        def has_next(self) -> bool:
            return bool(self.left)

        def next(self) -> int:
            return self.left.pop()

    assert partitions(env.create_source(Bare(), 2)) == [[1, 2, 3]] * 2


def test_source_without_parallelism_has_some(env: Environment) -> None:
    source = env.create_source(IntegerSource(2))
    assert source.parallelism == len(partitions(source)) >= 1


@pytest.mark.parametrize("wrong", [None, 7, IntegerSource, lambda: 1, "tea"])
def test_source_of_another_type_is_refused(env: Environment, wrong: Any) -> None:
    for create in (env.create_source, env.create_keyed_source):
        with pytest.raises(Exception, match="source_function should be an instance of") as raised:
            create(wrong, 2)
        assert str(SourceFunc) in str(raised.value)


class Random(SourceFunc):
    def __init__(self, count: int) -> None:
        self.left = count

    def has_next(self) -> bool:
        return self.left > 0

    def next(self) -> tuple[float, float]:
        import random

        import numpy

        self.left -= 1
        return random.random(), float(numpy.random.rand())


def test_random_numbers_differ_between_partitions_sets_and_runs_and_stay(env: Environment) -> None:
    pytest.importorskip("numpy")
    one, other = env.create_source(Random(3), 4), env.create_source(Random(3), 4)
    kept = one.cache()
    first, again = items(kept), items(kept)
    assert first == again
    every = first + items(other)
    assert len(every) == 24
    assert len({x for x, _ in every}) == len({y for _, y in every}) == 24


def test_lists_and_dicts_are_split_in_order(env: Environment) -> None:
    split = partitions(env.parallelize_list(list(range(10)), 3))
    assert [x for each in split for x in each] == list(range(10))
    assert sorted(map(len, split)) == [3, 3, 4]
    pairs = {f"key {number}": number for number in range(7)}
    keyed = env.parallelize_dict(pairs, 2)
    assert isinstance(keyed, KeyedTSet)
    assert dict(items(keyed)) == pairs
    ordered = env.parallelize_dict({2: "b", 3: "c", 1: "a"}, 2, key_comparator=lambda a, b: b - a)
    assert items(ordered) == [(3, "c"), (2, "b"), (1, "a")]
    with pytest.raises(TypeError, match="dictionary"):
        env.parallelize_dict([1, 2], 2)
    assert env.parallelize_list([1, 2], 5).parallelism == 5
    assert items(env.parallelize_list([1, 2], 5)) == [1, 2]
    assert items(env.parallelize_list([], 3)) == []
    assert items(env.parallelize_dict({}, 2)) == []


class KeyedIntegers(SourceFunc):  # as a program of Twister2's has it
    def __init__(self) -> None:
        super().__init__()
        self.i = 0

    def has_next(self) -> bool:
        return self.i < 10

    def next(self) -> tuple[int, int]:
        res = self.i
        self.i = self.i + 1
        return res % 3, res


def test_keyed_source_makes_pairs(env: Environment) -> None:
    source = env.create_keyed_source(KeyedIntegers(), 2)
    assert isinstance(source, KeyedTSet)
    assert items(source) == [(number % 3, number) for number in range(10)] * 2
    assert dict(items(source.keyed_reduce(operator.add))) == {0: 36, 1: 24, 2: 30}


def test_links_and_sets_have_what_belongs_to_them(env: Environment) -> None:
    source = env.parallelize_list([1, 2, 3], 2)
    link = source.direct()
    assert isinstance(link, TLink)
    for name in ("map", "flat_map", "compute", "sink", "for_each"):
        assert callable(getattr(link, name))
        assert callable(getattr(source, name))
    for name in ("cache", "lazy_cache", "persist", "get_data", "add_input"):
        assert callable(getattr(link, name))
        assert callable(getattr(source, name))
    assert items(link) == [1, 2, 3]
    assert items(source.direct().map(lambda x: x + 1)) == [2, 3, 4]


class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def plus(self, x: int) -> int:
        return x + self.by

    def plus_index(self, x: int, ctx: TSetContext) -> int:
        return x + self.by + ctx.index

    @staticmethod
    def static(x: int) -> int:
        return x + 10

    @classmethod
    def of_class(cls, x: int) -> int:
        return x + 10

    def __call__(self, x: int) -> int:
        return x + self.by


def with_default(x: int, by: int = 10) -> int:
    return x + by


@functools.lru_cache
def remembered(x: int) -> int:
    return x + 10


def with_rest(x: int, *rest: Any, **more: Any) -> int:
    return x + 10 + len(rest) + len(more)


def with_keyword(x: int, *, by: int = 10) -> int:
    return x + by


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 10,
        lambda x, ctx: x + 10 if isinstance(ctx, TSetContext) else None,
        Adder(10).plus,
        Adder(10).plus_index,
        Adder.static,
        Adder.of_class,
        Adder(10),
        with_default,
        with_rest,
        with_keyword,
        functools.partial(operator.add, 10),
        functools.partial(with_default, by=10),
        (10).__add__,
        remembered,
    ],
    ids=lambda function: getattr(function, "__qualname__", type(function).__name__),
)
def test_map_takes_whatever_can_be_called(env: Environment, function: Any) -> None:
    assert items(env.parallelize_list([1, 2, 3], 1).map(function)) == [11, 12, 13]


def test_map_takes_builtins_types_and_ufuncs(env: Environment) -> None:
    numpy = pytest.importorskip("numpy")
    numbers = env.parallelize_list([-1, 4], 2)
    assert items(numbers.map(abs)) == [1, 4]
    assert items(numbers.map(str)) == ["-1", "4"]
    assert items(numbers.map(int)) == [-1, 4]
    assert items(numbers.map(float).map(math.floor)) == [-1, 4]
    assert items(numbers.map(abs).map(math.sqrt)) == [1.0, 2.0]
    assert items(numbers.map(abs).map(numpy.sqrt)) == [1.0, 2.0]
    assert items(numbers.map(operator.neg)) == [1, -4]
    assert items(numbers.map(dict.fromkeys([-1, 4], "tea").get)) == ["tea", "tea"]
    assert items(env.parallelize_list([(1, 2)], 1).map(operator.itemgetter(1))) == [2]
    assert items(env.parallelize_list([1, 2], 1).map(print)) == [None, None]


def test_context_tells_where_a_function_runs(env: Environment) -> None:
    def told(x: int, ctx: TSetContext) -> tuple[Any, ...]:
        assert isinstance(ctx.worker_id, int)
        assert isinstance(ctx.name, str)
        assert ctx.id is not None
        return x, ctx.index, ctx.get_index(), ctx.parallelism, ctx.config["sample_config"]

    found = items(env.parallelize_list([7, 8, 9], 3).map(told))
    assert found == [(7, 0, 0, 3, 123), (8, 1, 1, 3, 123), (9, 2, 2, 3, 123)]


def test_flat_map_takes_what_is_returned_or_collected(env: Environment) -> None:
    def generated(x: int) -> Iterator[int]:
        yield from range(x)

    def collecting(x: int, collector: Any) -> None:
        for each in range(x):
            collector.collect(each)

    numbers = env.parallelize_list([0, 1, 3], 2)
    for function in (range, generated, collecting, lambda x: list(range(x))):
        assert items(numbers.flat_map(function)) == [0, 0, 1, 2]
    assert items(env.parallelize_list(["to be", "or"], 2).flat_map(str.split)) == ["to", "be", "or"]
    assert items(env.parallelize_list(["to be", "or"], 2).flat_map(lambda line: line.split())) == [
        "to",
        "be",
        "or",
    ]


def test_compute_makes_one_item_or_what_is_collected(env: Environment) -> None:
    numbers = env.parallelize_list([1, 2, 3, 4], 2)

    def with_context(itr: Iterator[int], ctx: TSetContext) -> tuple[int, int]:
        return ctx.index, sum(itr)

    def collecting(itr: Iterator[int], collector: Any, ctx: TSetContext) -> str:
        for x in itr:
            collector.collect((ctx.index, x * 5))
        return "not this"

    assert partitions(numbers.compute(sum)) == [[3], [7]]
    assert partitions(numbers.compute(list)) == [[[1, 2]], [[3, 4]]]
    assert partitions(numbers.compute(with_context)) == [[(0, 3)], [(1, 7)]]
    assert items(numbers.compute(collecting)) == [(0, 5), (0, 10), (1, 15), (1, 20)]
    assert partitions(numbers.compute(next)) == [[1], [3]]


def test_reduce_folds_in_the_order_of_partitions(env: Environment) -> None:
    letters = env.parallelize_list(list("abcdefghijk"), 4)
    assert partitions(letters.reduce(operator.add)) == [["abcdefghijk"]]
    assert partitions(letters.all_reduce(operator.add)) == [["abcdefghijk"]] * 4
    assert items(letters.map(ord).reduce(max)) == [ord("k")]
    assert items(env.parallelize_list([], 3).reduce(operator.add)) == []
    assert items(env.parallelize_list([7], 3).reduce(operator.add)) == [7]
    assert items(env.parallelize_list([7], 3).all_reduce(operator.add)) == [7, 7, 7]
    assert items(letters.all_reduce(operator.add).map(len).reduce(operator.add)) == [44]


def test_sum_of_floats_is_the_same_on_every_executor(env: Environment) -> None:
    numbers = [1.0 / number for number in range(1, 1000)]
    folded = items(env.parallelize_list(numbers, 7).reduce(operator.add))
    assert folded == [FOLDED.setdefault("sum", folded[0])]
    assert folded[0] == pytest.approx(math.fsum(numbers))


FOLDED: dict[str, float] = {}


def test_gather_has_the_index_of_the_partition(env: Environment) -> None:
    letters = env.parallelize_list(list("abcd"), 2)
    told = [(0, "a"), (0, "b"), (1, "c"), (1, "d")]
    assert partitions(letters.gather()) == [told]
    assert partitions(letters.all_gather()) == [told, told]
    assert items(env.parallelize_list([], 2).gather()) == []


class ByRemainder(PartitionFunc):
    def __init__(self) -> None:
        self.prepared: Any = None
        self.committed = 0

    def prepare(self, sources: Any, destinations: Any) -> None:
        self.prepared = set(sources), sorted(destinations)

    def partition(self, source_index: int, val: int) -> int:
        sources, destinations = self.prepared
        assert source_index in sources
        return destinations[val % len(destinations)]

    def commit(self, source_index: int, partition: int) -> int:
        self.committed += 1
        return partition


def test_partition_moves_items(env: Environment) -> None:
    moved = env.parallelize_list(list(range(12)), 4).partition(ByRemainder())
    assert [sorted(each) for each in partitions(moved)] == [[n, n + 4, n + 8] for n in range(4)]
    balanced = env.parallelize_list(list(range(12)), 4).partition(env.functions.partition.load_balanced)
    found = partitions(balanced)
    assert [len(each) for each in found] == [3, 3, 3, 3]
    assert sorted(x for each in found for x in each) == list(range(12))
    assert items(balanced.map(lambda x: x * 2).reduce(operator.add)) == [132]


def test_load_balanced_evens_out_uneven_partitions(env: Environment) -> None:
    uneven = env.parallelize_list([0, 1, 2, 3], 4).flat_map(lambda x: [x] * (12 if x == 2 else 0))
    found = partitions(uneven.partition(env.functions.partition.load_balanced))
    assert [len(each) for each in found] == [3, 3, 3, 3]


def test_keyed_operations_give_pairs(env: Environment) -> None:
    pairs = words(env)
    assert dict(items(pairs.keyed_reduce(operator.add))) == {"a": 10, "b": 7, "c": 4}
    gathered = {key: list(values) for key, values in items(pairs.keyed_gather())}
    assert gathered == {"a": [1, 3, 6], "b": [2, 5], "c": [4]}
    moved = partitions(pairs.keyed_partition(env.functions.partition.load_balanced))
    assert sorted(x for each in moved for x in each) == sorted(items(words(env)))
    of_keys = pairs.keyed_reduce(operator.add).map(lambda pair: pair[0])
    assert sorted(items(of_keys)) == ["a", "b", "c"]


def test_each_key_is_in_one_partition(env: Environment) -> None:
    keys: list[Any] = [1, 1.0, True, "1", b"1", (1,), None, 2**70, -1, frozenset({1, 2}), 1.5, "é"]
    pairs = [(key, 1) for key in keys * 4]
    found = partitions(env.parallelize_list(pairs, 4).keyed_reduce(operator.add))
    counted = [pair for each in found for pair in each]
    assert len(counted) == len(set(keys))
    assert dict(counted) == {key: 4 * keys.count(key) for key in keys}


def test_key_comparator_orders_what_is_gathered(env: Environment) -> None:
    pairs = [(number % 5, number) for number in range(20)]
    gathered = env.parallelize_list(pairs, 4).keyed_gather(
        partition_func=env.functions.partition.load_balanced, key_comparator=lambda a, b: b - a, use_disk=True
    )
    found = partitions(gathered)
    for each in found:
        keys = [key for key, _ in each]
        assert keys == sorted(keys, reverse=True)
    assert {key: sorted(values) for each in found for key, values in each} == {
        key: [key, key + 5, key + 10, key + 15] for key in range(5)
    }


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [(1, ("b", "B")), (1, ("c", "B"))]),
        ("left", [(0, ("a", None)), (1, ("b", "B")), (1, ("c", "B"))]),
        ("right", [(1, ("b", "B")), (1, ("c", "B")), (2, (None, "C"))]),
        ("outer", [(0, ("a", None)), (1, ("b", "B")), (1, ("c", "B")), (2, (None, "C"))]),
    ],
)
def test_join(env: Environment, how: str, expected: list[Any]) -> None:
    left = env.parallelize_list([(0, "a"), (1, "b"), (1, "c")], 2)
    right = env.parallelize_list([(1, "B"), (2, "C")], 3)
    assert sorted(items(left.join(right, how)), key=repr) == expected


@pytest.mark.parametrize("operation", ["keyed_reduce", "keyed_gather", "keyed_partition", "join"])
def test_keyed_operation_of_what_are_no_pairs_shows_one(env: Environment, operation: str) -> None:
    wrong = env.parallelize_list(["tea", "for two"], 2)
    given: dict[str, tuple[Any, ...]] = {
        "keyed_reduce": (operator.add,),
        "keyed_gather": (),
        "keyed_partition": (env.functions.partition.load_balanced,),
        "join": (env.parallelize_list([(1, 2)], 1), "inner"),
    }
    with pytest.raises(Exception, match=r"tea|for two"):
        items(getattr(wrong, operation)(*given[operation]))


def test_union_has_the_items_of_both(env: Environment) -> None:
    union = env.parallelize_list([1, 2, 3], 2).union(env.parallelize_list([4, 5], 2))
    assert sorted(items(union)) == [1, 2, 3, 4, 5]
    assert items(union.map(lambda x: x * 10).reduce(operator.add)) == [150]


def test_inputs_are_found_by_name_and_the_last_one_wins(env: Environment) -> None:
    numbers = env.parallelize_list([1, 2, 3, 4], 2)

    def both_ways(x: int, ctx: TSetContext) -> tuple[int, int]:
        given = ctx.get_input("z")
        by_number = given.get_partition(ctx.get_index()).consumer().__next__()
        assert by_number == given.first()
        return x, by_number

    mapped = numbers.map(both_ways)
    assert mapped.add_input("z", env.parallelize_list([100, 200], 2).cache()) is mapped
    assert items(mapped) == [(1, 100), (2, 100), (3, 200), (4, 200)]
    mapped.add_input("z", env.parallelize_list([5, 6], 2))
    assert items(mapped) == [(1, 5), (2, 5), (3, 6), (4, 6)]


def test_cached_and_keyed_sets_take_inputs(env: Environment) -> None:
    pairs = words(env).cache()
    rates = env.parallelize_list([{"a": 2, "b": 3, "c": 4}] * 3, 3)
    priced = pairs.map(lambda pair, ctx: (pair[0], pair[1] * ctx.get_input("rates").first()[pair[0]]))
    priced.add_input("rates", rates)
    assert dict(items(priced.keyed_reduce(operator.add))) == {"a": 20, "b": 21, "c": 16}


def test_input_that_is_not_there_is_named(env: Environment) -> None:
    with pytest.raises(Exception, match="tea"):
        items(env.parallelize_list([1], 1).map(lambda x, ctx: ctx.get_input("tea").first()))


def counting(path: Path) -> Any:
    def counted(x: int) -> int:
        with open(path, "a") as file:
            file.write(".")
        return x * 5

    return counted


def test_cache_is_evaluated_now_and_once(env: Environment, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    cached = env.parallelize_list([1, 2, 3], 2).map(counting(runs)).cache()
    assert runs.read_text() == "..."
    assert items(cached) == [5, 10, 15]
    assert items(cached.map(lambda x: x + 1)) == [6, 11, 16]
    assert runs.read_text() == "..."


def test_lazy_cache_is_evaluated_by_its_first_use_and_once(env: Environment, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    lazy = env.parallelize_list([1, 2, 3], 2).map(counting(runs)).lazy_cache()
    assert not runs.exists()
    assert items(lazy.map(lambda x: x + 1)) == [6, 11, 16]
    assert items(lazy) == [5, 10, 15]
    assert runs.read_text() == "..."


def test_persisted_set_is_on_disk(env: Environment, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    kept = env.parallelize_list([1, 2, 3], 2).map(counting(runs)).persist(str(tmp_path / "kept"))
    assert runs.read_text() == "..."
    assert any((tmp_path / "kept").iterdir())
    assert items(kept) == [5, 10, 15]
    assert items(kept.map(lambda x: x + 1).reduce(operator.add)) == [33]
    assert runs.read_text() == "..."


def test_cache_keeps_the_inputs_of_its_moment(env: Environment) -> None:
    """A loop that evaluates the same sets with new inputs leaves what was cached before as it was."""
    mapped = env.parallelize_list([1, 2], 2).map(lambda x, ctx: x * ctx.get_input("by").first())
    by: Any = env.parallelize_list([2, 2], 2)
    every = []
    for _ in range(3):
        mapped.add_input("by", by)
        by = mapped.all_reduce(operator.add).cache()
        every.append(by)
    assert [items(each) for each in every] == [[6, 6], [18, 18], [54, 54]]


def test_data_of_a_set_is_seen_by_the_driver(env: Environment) -> None:
    data = env.parallelize_list([1, 2, 3], 4).cache().get_data()
    assert isinstance(data, DataObject)
    assert data.partition_count == 4
    assert data.id is not None
    filled = [each for each in data.get_partitions() if each.first() is not None]
    (empty,) = [each for each in data.get_partitions() if each.first() is None]
    assert [list(each.consumer()) for each in filled] == [[1], [2], [3]]
    first = data.get_partition(filled[0].id)
    assert isinstance(first, DataPartition)
    assert [each.id for each in data.get_partitions()] == [0, 1, 2, 3]
    assert next(first.consumer()) == next(first.consumer()) == first.first() == 1
    assert first.first_or_default("tea") == 1
    assert empty.first_or_default("tea") == "tea"
    assert list(empty.consumer()) == []
    assert env.parallelize_list([1, 2, 3], 1).map(abs).get_data().get_partition(0).first() == 1


def test_sink_and_for_each_have_each_item_now(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = env.parallelize_list([1, 2, 3], 2)
    numbers.direct().sink(lambda x: print("sink", x))
    assert capsys.readouterr().out == "sink 1\nsink 2\nsink 3\n"
    numbers.direct().for_each(lambda x: print(x))
    numbers.for_each(print)
    numbers.sink(lambda x, ctx: print(x, ctx.index))
    assert capsys.readouterr().out == "1\n2\n3\n" * 2 + "1 0\n2 1\n3 1\n"


def test_prints_come_in_the_order_of_partitions(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    def slow_first(x: int) -> None:
        import time

        time.sleep(0.02 * (8 - x) / 8)  # the first partitions are the last to be done
        print("item", x)

    env.parallelize_list(list(range(8)), 8).for_each(slow_first)
    assert capsys.readouterr().out == "".join(f"item {number}\n" for number in range(8))


def test_run_evaluates_and_keeps_nothing(env: Environment, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    env.parallelize_list([1, 2, 3], 2).map(counting(runs)).run()
    assert runs.read_text() == "..."


def test_plan_is_explained(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    plan = env.parallelize_list([1, 2], 2).map(abs).keyed_reduce(operator.add).map(str)
    plan.explain()
    text = capsys.readouterr().out
    for each in ("map", "keyed_reduce"):
        assert each in text


def test_sets_are_used_more_than_once(env: Environment) -> None:
    numbers = env.parallelize_list([1, 2, 3], 2)
    doubled = numbers.map(lambda x: x * 2)
    assert items(doubled) == items(doubled) == [2, 4, 6]
    assert items(doubled.map(str)) == ["2", "4", "6"]
    assert items(doubled.reduce(operator.add)) == [12]
    assert sorted(items(doubled.union(doubled))) == [2, 2, 4, 4, 6, 6]
    both = doubled.map(lambda x: (x, "l")).join(doubled.map(lambda x: (x, "r")), "inner")
    assert sorted(items(both)) == [(2, ("l", "r")), (4, ("l", "r")), (6, ("l", "r"))]


def test_arrays_keep_what_they_are(env: Environment) -> None:
    numpy = pytest.importorskip("numpy")
    given = [
        numpy.arange(6, dtype=">i2").reshape(2, 3),
        numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
        numpy.zeros((0, 3), "float32"),
        numpy.array(1.5),
        numpy.arange(20_000.0).reshape(100, 200),
        numpy.array(["a", "bc"]),
        numpy.array([None, {}], dtype=object),
    ]
    kept = items(env.parallelize_list(given, 3).cache())
    for one, other in zip(given, kept, strict=True):
        assert (one.dtype, one.shape, one.flags.f_contiguous) == (
            other.dtype,
            other.shape,
            other.flags.f_contiguous,
        )
        assert numpy.array_equal(one, other)
    gathered = items(env.parallelize_list(given, 3).gather())
    assert [each.shape for _, each in gathered] == [each.shape for each in given]


ODD: list[Any] = [
    None,
    float("nan"),
    float("inf"),
    -0.0,
    2**100,
    "",
    b"\0",
    [],
    {},
    (),
    ...,
    range(3),
    print,
    "x" * 200_000,
]


def test_items_may_be_anything(env: Environment) -> None:
    found = items(env.parallelize_list(ODD, 3).map(lambda x: x).cache())
    assert list(map(repr, found)) == list(map(repr, ODD))
    assert items(env.parallelize_list([None] * 4, 2).map(lambda x: x)) == [None] * 4
    assert items(env.parallelize_list([0, None, 0], 3).compute(lambda itr: None)) == [None] * 3
    keyed = env.parallelize_list([(None, None), (None, 1)], 2).keyed_gather()
    assert [(key, list(values)) for key, values in items(keyed)] == [(None, [None, 1])]


@pytest.mark.parametrize("parallelism", [1, 2, 5, 40])
def test_parallelism_changes_no_answer(env: Environment, parallelism: int) -> None:
    numbers = env.parallelize_list(list(range(20)), parallelism)
    assert items(numbers.map(lambda x: x + 1)) == list(range(1, 21))
    assert items(numbers.reduce(operator.add)) == [190]
    pairs = numbers.map(lambda x: (x % 3, x)).keyed_reduce(operator.add)
    assert dict(items(pairs)) == {0: 63, 1: 70, 2: 57}
    assert len(items(numbers.gather())) == 20
    assert sorted(items(numbers.partition(env.functions.partition.load_balanced))) == list(range(20))


@pytest.mark.parametrize("parallelism", [-1, 1.5, "2", None])
def test_parallelism_that_is_none_is_refused(env: Environment, parallelism: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        env.parallelize_list([1], parallelism)
