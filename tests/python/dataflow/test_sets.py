"""What operations give, the same on each engine."""

from __future__ import annotations

import operator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from dataflow.engines import ENGINES, Numbers, flat, items, of_pool

import erl
from erl.dataflow import Environment, PartitionFunc
from erl.dataflow.failures import OperationError
from erl.dataflow.plan import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=ENGINES)
def env(request: pytest.FixtureRequest, node: erl.Node) -> Iterator[Environment]:
    made = of_pool(node) if request.param == "pool" else Environment(executor=request.param)
    with made:
        yield made


def times(factor: int, iterator: Any, collector: Any, ctx: Any) -> None:
    for item in iterator:
        collector.collect(item * factor)


def plus_input(iterator: Any, collector: Any, ctx: Any) -> None:
    others = ctx.get_input("z").get_partition(ctx.get_index()).consumer()
    for item in iterator:
        collector.collect(item + next(others))


def test_a_source_gives_a_copy_for_each_partition(env: Environment) -> None:
    data = env.create_source(Numbers(10), 4).get_data()
    assert items(data) == [list(range(10))] * 4
    assert (data.partition_count, data.get_partition(1).id) == (4, 1)
    assert data.get_partition(2).first() == 0
    assert [next(data.get_partition(0).consumer()) for _ in range(2)] == [0, 0]
    empty = env.create_source(Numbers(0), 2).get_data()
    assert (empty.get_partition(0).first(), empty.get_partition(1).first_or_default(7)) == (None, 7)
    with pytest.raises(Exception, match=r"source_function should be an instance of"):
        env.create_source(object(), 4)  # type: ignore[arg-type]


def test_the_sums_of_the_specification(env: Environment) -> None:
    source = env.create_source(Numbers(10), 4)
    computed = source.compute(partial(times, 5)).compute(
        lambda itr, collector, ctx: [collector.collect(x + 2) for x in itr]
    )
    assert flat(computed.reduce(lambda a, b: a + b)) == [980]
    with_input = computed.compute(plus_input)
    with_input.add_input("z", source.cache())
    assert flat(with_input.cache().reduce(operator.add)) == [1160]


def test_functions_are_given_the_context_where_they_take_it(env: Environment) -> None:
    numbers = env.parallelize_list([1, 4, 9], 3)
    assert flat(numbers.map(lambda x, ctx: (x, ctx.index, ctx.parallelism))) == [
        (1, 0, 3),
        (4, 1, 3),
        (9, 2, 3),
    ]
    assert flat(numbers.map(lambda x, y=5: x + y)) == [6, 9, 14]
    assert flat(numbers.map(str)) == ["1", "4", "9"]
    assert flat(numbers.map(partial(operator.mul, 2))) == [2, 8, 18]
    assert flat(numbers.map(print)) == [None] * 3
    assert flat(numbers.compute(sum)) == [1, 4, 9]
    assert flat(numbers.compute(lambda itr, ctx: (ctx.get_index(), list(itr)))) == [
        (0, [1]),
        (1, [4]),
        (2, [9]),
    ]
    assert flat(numbers.flat_map(range)) == [0, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert flat(numbers.flat_map(lambda x, c: c.collect(-x))) == [-1, -4, -9]


def test_a_reduction_is_a_tree_of_the_partitions(env: Environment) -> None:
    numbers = env.parallelize_list(["a", "b", "c", "d", "e"], 5)
    assert flat(numbers.reduce(lambda a, b: f"({a}{b})")) == ["(((ab)(cd))e)"]
    assert items(numbers.all_reduce(lambda a, b: a + b)) == [["abcde"]] * 5
    assert items(env.parallelize_list([], 3).reduce(operator.add)) == [[]]
    assert items(env.parallelize_list([5], 3).all_reduce(operator.add)) == [[5]] * 3


def test_gathered_items_have_the_index_of_their_partition(env: Environment) -> None:
    numbers = env.parallelize_list(range(3), 2)
    assert items(numbers.gather()) == [[(0, 0), (1, 1), (1, 2)]]
    assert items(numbers.all_gather()) == [[(0, 0), (1, 1), (1, 2)]] * 2


class Ends(PartitionFunc):
    """Even numbers to the first, others to the last."""

    def prepare(self, sources: set[int], destinations: set[int]) -> None:
        self.sources, self.destinations = sources, destinations
        self.committed: list[int] = []

    def partition(self, source_index: int, val: Any) -> int:
        return max(self.destinations) if val % 2 else 0

    def commit(self, source_index: int, partition: int) -> None:
        self.committed.append(partition)


def test_partitions_are_where_the_function_says(env: Environment) -> None:
    balanced = env.functions.partition.load_balanced
    assert [len(each) for each in items(env.create_source(Numbers(3), 4).partition(balanced))] == [3] * 4
    assert [len(each) for each in items(env.parallelize_list(range(12), 1).partition(balanced, 4))] == [3] * 4
    uneven = env.create_source(Numbers(6), 2).partition(balanced, 4)
    assert [len(each) for each in items(uneven)] == [3] * 4
    assert items(env.parallelize_list(range(6), 3).partition(Ends())) == [[0, 2, 4], [], [1, 3, 5]]
    with pytest.raises(TypeError, match="partition_func should be an instance of"):
        env.parallelize_list([1], 1).partition(lambda x: 0)  # type: ignore[arg-type]


def test_keys_meet(env: Environment) -> None:
    pairs = env.parallelize_list(list("abacba"), 3).map(lambda word: (word, 1))
    assert sorted(flat(pairs.keyed_reduce(lambda a, b: a + b))) == [("a", 3), ("b", 2), ("c", 1)]
    assert sorted(flat(pairs.keyed_reduce(max))) == [("a", 1), ("b", 1), ("c", 1)]
    assert sorted(flat(pairs.keyed_gather())) == [("a", [1, 1, 1]), ("b", [1, 1]), ("c", [1])]
    ordered = pairs.keyed_gather(key_comparator=lambda one, other: (one < other) - (one > other))
    for each in items(ordered):
        assert [key for key, _ in each] == sorted((key for key, _ in each), reverse=True)
    by_length = env.parallelize_dict({0: "x", 1: "y", 2: "z"}, 2).keyed_partition(Ends())
    assert items(by_length) == [[(0, "x"), (2, "z")], [(1, "y")]]
    with pytest.raises(TypeError, match=r"for pairs, \(key, value\), and this item is none: 'abc'"):
        flat(env.parallelize_list(["abc"], 1).keyed_reduce(operator.add))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("inner", [(2, ("b", "B"))]),
        ("left", [(1, ("a", None)), (2, ("b", "B"))]),
        ("right", [(2, ("b", "B")), (3, (None, "C"))]),
        ("outer", [(1, ("a", None)), (2, ("b", "B")), (3, (None, "C"))]),
    ],
)
def test_sets_are_joined(env: Environment, kind: str, expected: list[Any]) -> None:
    left, right = env.parallelize_dict({1: "a", 2: "b"}, 2), env.parallelize_dict({2: "B", 3: "C"}, 3)
    assert sorted(flat(left.join(right, kind))) == expected


def test_a_union_has_the_items_of_all(env: Environment) -> None:
    one, other = env.parallelize_list(range(4), 2), env.parallelize_list(range(10, 13), 3).cache()
    assert items(one.union(other).map(lambda x: -x)) == [[0, -1, -10], [-2, -3, -11], [-12]]


def test_what_is_cached_stays_whatever_becomes_of_the_inputs(env: Environment) -> None:
    numbers = env.parallelize_list(range(4), 2)
    added = numbers.map(lambda x, ctx: x + ctx.get_input("plus").first())
    added.add_input("plus", env.parallelize_list([100, 100], 2))
    first, lazy = added.cache(), added.lazy_cache()
    added.add_input("plus", env.parallelize_list([200], 1))
    second = added.cache()
    assert (flat(first), flat(lazy)) == ([100, 101, 102, 103],) * 2
    assert flat(second) == [200, 201, 202, 203]
    total = env.parallelize_list([0], 1).cache()
    for _ in range(5):
        added.add_input("plus", total)
        total = added.all_reduce(operator.add).cache()
    assert set(flat(total)) == {6 + 4 * (6 + 4 * (6 + 4 * (6 + 4 * 6)))}


def test_inputs_have_all_their_partitions(env: Environment) -> None:
    numbers = env.parallelize_list(range(4), 4)
    other = env.parallelize_list("abcd", 4).cache()
    mapped = numbers.map(lambda x, ctx: ctx.get_input("other").get_partition((x + 1) % 4).first())
    assert flat(mapped.add_input("other", other)) == ["b", "c", "d", "a"]
    with pytest.raises(KeyError, match="no input 'another'; it has: other"):
        flat(numbers.map(lambda x, ctx: ctx.get_input("another")).add_input("other", other))


def test_a_set_that_is_its_own_input_is_refused(env: Environment) -> None:
    one = env.parallelize_list(range(4), 2).map(lambda x, ctx: x)
    other = one.map(lambda x: x)
    one.add_input("again", other)
    with pytest.raises(PlanError, match="is an input of itself"):
        other.get_data()


def test_prints_come_in_the_order_of_the_partitions(
    env: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    env.create_source(Numbers(2), 3).for_each(lambda x, ctx: print(ctx.index, x))
    assert capsys.readouterr().out == "0 0\n0 1\n1 0\n1 1\n2 0\n2 1\n"
    env.parallelize_list("ab", 2).map(lambda x: print(x)).sink(lambda x: print(x))
    assert capsys.readouterr().out == "a\nNone\nb\nNone\n"


def test_what_a_function_raises_says_where(env: Environment) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        env.create_source(Numbers(10), 2).map(lambda x: x).map(
            lambda x, ctx: 1 // (x - 7 * ctx.index)
        ).cache()
    error = caught.value
    assert isinstance(error, OperationError)
    assert (error.partition, error.item) in [(0, 0), (1, 7)]
    assert "in map(<lambda> at test_sets.py:" in str(error)
    assert "ZeroDivisionError" in str(error.__cause__.__cause__)
    assert flat(env.parallelize_list([1], 1)) == [1]


def test_what_can_not_be_pickled_is_named(env: Environment) -> None:
    lock = __import__("threading").Lock()
    with pytest.raises(
        TypeError, match=r"the function of map-\d+, map\(<lambda> at test_sets.py:\d+\), can't be pickled"
    ):
        flat(env.parallelize_list([1], 1).map(lambda x: lock))


def test_what_can_not_go_to_another_partition_says_where(env: Environment) -> None:
    if env._engine.is_local:
        return  # nothing goes anywhere
    locks = env.parallelize_list([1], 1).map(lambda x: (x, __import__("threading").Lock()))
    with pytest.raises(TypeError, match=r"cannot pickle.*\(in keyed_gather, keyed_gather-\d+, partition 0\)"):
        flat(locks.keyed_gather())
    assert flat(locks.cache().map(lambda pair: pair[1].locked())) == [False]


def test_sources_draw_their_own_numbers_again_and_again(env: Environment) -> None:
    source = env.create_source(Drawn(5), 3)
    first = items(source)
    assert items(source.map(lambda x: x)) == first
    assert len({tuple(each) for each in first}) == 3
    with Environment(executor="inline") as other:
        assert items(other.create_source(Drawn(5), 3)) != first
    with Environment(executor="inline", seed=env.seed) as same:
        for _ in range(source.id - 1):
            next(same._numbers)
        assert items(same.create_source(Drawn(5), 3)) == first


class Drawn(Numbers):
    def next(self) -> Any:
        import random

        super().next()
        return random.random()


def test_a_plan_is_explained(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = env.parallelize_list(range(4), 2).map(abs).all_reduce(operator.add).map(str)
    numbers.explain()
    told = capsys.readouterr().out
    assert "list in 2 partitions -> map(abs)" in told
    assert "all_reduce(add) of stage 1, 2 partitions to 2 -> map(str); 2 tasks" in told
