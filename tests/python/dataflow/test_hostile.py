"""Functions, sources, plans and people that mean no good: a clear error, nothing left running, and it goes on."""

from __future__ import annotations

import functools
import operator
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flows import IntegerSource, items, partitions

import erl
from erl.dataflow import Environment, PartitionFunc, SourceFunc, TSetContext
from erl.executors import InlineExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


def raising(x: int) -> int:
    if x == 7:
        raise ZeroDivisionError("seven")
    return x


def test_error_of_a_function_is_its_class_and_says_where(env: Environment) -> None:
    numbers = env.parallelize_list(list(range(10)), 5)  # 7 is the second item of partition 3
    with pytest.raises(ZeroDivisionError) as caught:
        numbers.map(raising).get_data()
    text = "\n".join(
        [str(caught.value), *getattr(caught.value, "__notes__", ()), str(caught.value.__cause__ or "")]
    )
    assert "seven" in text
    for each in ("map(raising", "partition 3", "item 1"):
        assert each in text
    assert items(numbers.map(lambda x: x + 1)) == list(range(1, 11))


@pytest.mark.parametrize("error", [StopIteration("tea"), KeyError("tea"), RuntimeError(), MemoryError("tea")])
def test_error_of_any_class_comes_through(env: Environment, error: Exception) -> None:
    def failing(x: int) -> int:
        raise error

    for made in (
        env.parallelize_list([1, 2], 2).map(failing),
        env.parallelize_list([1, 2], 2).flat_map(failing),
        env.parallelize_list([1, 2], 2).compute(failing),
        env.parallelize_list([1, 2], 2).reduce(lambda x, y: failing(x)),
    ):
        with pytest.raises(type(error)):
            made.get_data()


class Stopping(SourceFunc):
    def has_next(self) -> bool:
        return True

    def next(self) -> int:
        raise StopIteration


class Failing(IntegerSource):
    def next(self) -> int:
        if self.x == 2:
            raise LookupError("the third")
        return super().next()


def test_source_that_raises_is_not_one_that_ends(env: Environment) -> None:
    for source, error, at in ((Stopping(), StopIteration, 0), (Failing(5), LookupError, 2)):
        with pytest.raises(error, match=rf"partition [01], item {at}\)"):
            env.create_source(source, 2).get_data()


class Unpicklable(IntegerSource):
    def __init__(self) -> None:
        super().__init__(3)
        self.lock = threading.Lock()


def test_what_cant_be_pickled_is_named(env: Environment) -> None:
    lock = threading.Lock()
    numbers = env.parallelize_list([1, 2], 2)

    def holding(x: int) -> int:
        with lock:
            return x

    with pytest.raises(Exception, match=r"(?s)holding.*lock"):
        numbers.map(holding).get_data()
    with pytest.raises(Exception, match="lock"):
        env.create_source(Unpicklable(), 2).get_data()
    assert items(numbers.map(lambda x: x + 1)) == [2, 3]


def test_items_that_cant_be_pickled_stay_in_their_worker(env: Environment) -> None:
    """As long as nothing moves them nobody has to pickle them."""
    locks = env.parallelize_list([1, 2], 2).map(lambda x: threading.Lock()).cache()
    assert items(locks.map(lambda lock: lock.acquire(False))) == [True, True]
    generators = env.parallelize_list([1, 2], 2).map(lambda x: (y for y in range(x)))
    assert items(generators.flat_map(lambda each: each)) == [0, 0, 1]


def test_lambda_with_closure_and_globals_travels(env: Environment) -> None:
    by = 3
    assert items(env.parallelize_list([1, 2], 2).map(lambda x: x * by + len(textwrap.dedent(" a")))) == [4, 7]


def test_function_is_the_one_of_the_moment_that_it_was_given(env: Environment) -> None:
    """A loop's lambdas each have their number; a set keeps the function that it was made with."""
    sets = [env.parallelize_list([1], 1).map(lambda x, n=n: x + n) for n in range(3)]
    assert [items(each) for each in sets] == [[1], [2], [3]]


def test_partition_function_that_says_nonsense_is_told(env: Environment) -> None:
    class Nonsense(PartitionFunc):
        def __init__(self, said: Any) -> None:
            self.said = said

        def prepare(self, sources: Any, destinations: Any) -> None:
            pass

        def partition(self, source_index: int, val: Any) -> Any:
            return self.said

        def commit(self, source_index: int, partition: int) -> int:
            return partition

    for said in (4, -1, None, "tea", 1.5):
        with pytest.raises(Exception, match="partition"):
            items(env.parallelize_list([1, 2], 2).partition(Nonsense(said)))
    with pytest.raises(TypeError, match="partition"):
        env.parallelize_list([1, 2], 2).partition(lambda x: 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "operation", ["map", "flat_map", "compute", "for_each", "sink", "reduce", "all_reduce"]
)
@pytest.mark.parametrize("wrong", [None, 7, "tea"])
def test_what_cant_be_called_is_refused_at_once(env: Environment, operation: str, wrong: Any) -> None:
    with pytest.raises(TypeError):
        getattr(env.parallelize_list([1], 1), operation)(wrong)


def test_flat_map_of_what_is_no_iterable_says_so(env: Environment) -> None:
    with pytest.raises(TypeError, match=r"int|iterable"):
        items(env.parallelize_list([1], 1).flat_map(lambda x: x))
    assert items(env.parallelize_list([1], 1).flat_map(lambda x: None or ())) == []


def test_set_that_is_its_own_input_is_an_error(env: Environment) -> None:
    one = env.parallelize_list([1], 1).map(lambda x, ctx: ctx.get_input("loop").first())
    other = one.map(lambda x: x)
    for cyclic in (one, other, other.direct()):
        one.add_input("loop", cyclic)
        with pytest.raises(ValueError, match="input of itself"):
            one.cache()
    one.add_input("loop", env.parallelize_list([5], 1))
    assert items(other) == [5]


def test_input_that_is_no_set_is_refused(env: Environment) -> None:
    for wrong in (None, [1, 2], env, 7):
        with pytest.raises(TypeError):
            env.parallelize_list([1], 1).add_input("wrong", wrong)  # type: ignore[arg-type]


def test_input_with_fewer_partitions_says_which_it_has(env: Environment) -> None:
    """One of one partition is every partition's: what `reduce` gives can be an input."""
    numbers = env.parallelize_list([1, 2, 3], 3)
    total = numbers.reduce(operator.add)
    mapped = numbers.map(lambda x, ctx: x / ctx.get_input("total").first()).add_input("total", total)
    assert items(mapped) == [1 / 6, 2 / 6, 3 / 6]
    beyond = numbers.map(lambda x, ctx: ctx.get_input("two").get_partition(2).first())
    beyond.add_input("two", env.parallelize_list([1, 2], 2))
    with pytest.raises(Exception, match="2"):
        items(beyond)


def test_input_may_be_read_whole(env: Environment) -> None:
    """Any partition of an input, whoever holds it."""
    looked_up = env.parallelize_list([0, 1, 2, 3], 4).map(
        lambda x, ctx: ctx.get_input("other").get_partition(3 - x).first()
    )
    looked_up.add_input("other", env.parallelize_list(["a", "b", "c", "d"], 4).cache())
    assert items(looked_up) == ["d", "c", "b", "a"]


def test_environments_beside_each_other_do_not_meet(env: Environment) -> None:
    with Environment(executor=InlineExecutor(), config={"sample_config": 5}) as other:
        here = env.parallelize_list([1, 2], 2).cache()
        there = other.parallelize_list([10, 20], 2).cache()
        assert (items(here), items(there)) == ([1, 2], [10, 20])
        told = lambda x, ctx: ctx.config["sample_config"]  # noqa: E731
        assert (items(here.map(told)), items(there.map(told))) == ([123, 123], [5, 5])
        for wrong in (
            lambda: here.union(there),
            lambda: here.add_input("x", there),
            lambda: here.map(lambda x: (x, x)).join(there.map(lambda x: (x, x)), "inner"),
        ):
            with pytest.raises((TypeError, ValueError), match="environment"):
                wrong()
    assert items(here) == [1, 2]


def test_sets_of_a_closed_environment_say_so(env: Environment) -> None:
    kept = env.parallelize_list([1, 2], 2).cache()
    data = kept.get_data()
    env.close()
    env.close()
    for use in (
        lambda: kept.map(abs).get_data(),
        kept.cache,
        lambda: kept.for_each(print),
        lambda: list(data.get_partition(0).consumer()),
        lambda: env.parallelize_list([1], 1),
        lambda: env.create_source(IntegerSource(3), 1),
        lambda: kept.reduce(operator.add),
    ):
        with pytest.raises(Exception, match="closed"):
            use()


def test_item_that_a_function_changes_is_not_changed_in_the_cache(env: Environment) -> None:
    """Each evaluation of a cached set begins with what was cached."""
    kept = env.parallelize_list([[1], [2]], 2).cache()

    def changing(item: list[int]) -> list[int]:
        item.append(0)
        return item

    assert items(kept.map(changing)) == [[1, 0], [2, 0]]
    assert items(kept.map(changing)) == [[1, 0], [2, 0]]
    assert items(kept) == [[1], [2]]


def test_items_of_the_driver_are_not_changed(env: Environment) -> None:
    given = [[1], [2]]
    made = env.parallelize_list(given, 2)
    assert items(made.map(lambda item: item.append(0) or item)) == [[1, 0], [2, 0]]
    assert given == [[1], [2]]
    given.append([3])
    assert items(made) == [[1], [2]]


def test_what_the_driver_does_to_an_item_is_its_own(env: Environment) -> None:
    kept = env.parallelize_list([[1], [2]], 2).cache()
    kept.get_data().get_partition(0).first().append(5)
    assert items(kept) == [[1], [2]]


def test_arrays_and_accumulators_that_are_changed_in_place_are_copies(env: Environment) -> None:
    numpy = pytest.importorskip("numpy")
    kept = env.parallelize_list([numpy.zeros(3), numpy.ones((200, 200), order="F")], 2).cache()

    def changing(array: Any) -> float:
        array += 1  # as Twister2's own examples do
        return float(array.sum())

    assert items(kept.map(changing)) == [3.0, 80_000.0]
    assert items(kept.map(changing)) == [3.0, 80_000.0]
    assert items(kept.map(lambda array: array.flags.writeable and array.flags.f_contiguous)) == [True, True]
    counts = env.parallelize_list([{"a": 1}, {"b": 1}, {"a": 1}], 3).cache()

    def added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
        for key, value in other.items():
            one[key] = one.get(key, 0) + value
        return one

    for _ in range(2):
        assert items(counts.reduce(added)) == [{"a": 2, "b": 1}]
        assert items(counts.map(lambda each: (len(each), each)).keyed_reduce(added)) == [
            (1, {"a": 2, "b": 1})
        ]
    assert items(counts) == [{"a": 1}, {"b": 1}, {"a": 1}]


def test_huge_items_and_many_small_ones(env: Environment) -> None:
    numpy = pytest.importorskip("numpy")
    huge = env.parallelize_list([1, 2, 3], 3).map(lambda x: numpy.full(2_000_000, x))
    assert items(huge.map(lambda array: int(array.sum()))) == [2_000_000, 4_000_000, 6_000_000]
    assert int(items(huge.all_reduce(operator.add))[2].sum()) == 12_000_000
    many = env.create_source(IntegerSource(50_000), 2)
    assert items(many.compute(lambda itr: sum(1 for _ in itr)).reduce(operator.add)) == [100_000]
    assert items(many.reduce(operator.add)) == [2 * sum(range(50_001))]


def test_compute_that_reads_nothing_or_twice(env: Environment) -> None:
    numbers = env.parallelize_list([1, 2, 3, 4], 2)
    assert items(numbers.compute(lambda itr: "nothing")) == ["nothing"] * 2
    assert items(numbers.compute(lambda itr: (list(itr), list(itr)))) == [([1, 2], []), ([3, 4], [])]
    escaped = numbers.compute(lambda itr: itr)
    assert [list(each) for each in items(escaped.map(list))] == [[1, 2], [3, 4]]


def test_deep_plans_end(env: Environment) -> None:
    made: Any = env.parallelize_list([1, 2], 2)
    for _ in range(3_000):
        made = made.map(lambda x: x + 1)
    assert items(made) == [3001, 3002]
    union: Any = env.parallelize_list([1], 1)
    for _ in range(200):
        union = union.union(env.parallelize_list([1], 1))
    assert items(union.reduce(operator.add)) == [201]


def test_thread_of_the_program_may_use_sets_too(env: Environment) -> None:
    found: list[Any] = []

    def use(number: int) -> None:
        made = env.parallelize_list([number, number + 1], 2)
        found.append((number, items(made.map(lambda x: x * 2).reduce(operator.add))))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert sorted(found) == [(number, [4 * number + 2]) for number in range(4)]


def test_a_cell_run_twice_finds_what_it_had() -> None:
    """A notebook's cell again: its names are bound again, what was theirs is given back."""
    cell = textwrap.dedent(
        """
        env = Environment(resources=[{"cpu": 1, "ram": 512, "instances": 2}])
        kept = env.parallelize_list([1, 2, 3], 2).map(lambda x: x + offset).cache()
        total = kept.reduce(lambda x, y: x + y).get_data().get_partition(0).first()
        """
    )
    with erl.start({"default": {"size": 1}}, name="cells") as node:
        names: dict[str, Any] = {"Environment": Environment}
        for offset in (0, 10, 20):
            names["offset"] = offset
            exec(cell, names)
            assert names["total"] == 6 + 3 * offset
        names["env"].close()
        names.clear()
        import gc

        gc.collect()
        deadline = time.monotonic() + 60
        while len(node.status()["pools"]) > 1:
            assert time.monotonic() < deadline, node.status()["pools"].keys()
            time.sleep(0.05)


ENDLESS = """
import os, sys, time
from erl.dataflow import Environment, SourceFunc

class Endless(SourceFunc):
    def has_next(self):
        return True
    def next(self):
        return 1

env = Environment(resources=[{"cpu": 1, "ram": 512, "instances": 2}])
def first(x):
    return os.getpid()
print(*[part.first() for part in env.parallelize_list([1, 2], 2).map(first).get_data().get_partitions()], flush=True)
quick = env.parallelize_list([1, 2, 3], 2).cache()
try:
    print("begun", flush=True)
    WHAT
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(quick.reduce(lambda x, y: x + y).get_data().get_partition(0).first(), flush=True)
"""


@pytest.mark.parametrize(
    "what",
    [
        "env.create_source(Endless(), 2).compute(lambda itr: sum(itr)).cache()",
        "env.parallelize_list([1, 2], 2).for_each(lambda x: time.sleep(600))",
    ],
    ids=["endless source", "for_each"],
)
def test_interrupt_ends_what_runs_and_the_program_goes_on(tmp_path: Path, what: str) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS.replace("WHAT", what))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            os_pids = [int(each) for each in process.stdout.readline().split()]
            assert process.stdout.readline() == "begun\n"
            time.sleep(0.5)  # in the middle of it
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert process.stdout.readline() == "6\n"
            assert process.wait(60) == 0
        finally:
            process.kill()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{each}").exists() for each in os_pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    "resources",
    [
        [{"cpu": 0, "ram": 1024, "instances": 1}],
        [{"cpu": 1, "ram": -5, "instances": 1}],
        [{"cpu": 1, "ram": 1024, "instances": 0}],
        [{"cpu": 1, "ram": 1024, "instances": "two"}],
        [{"cpu": None}],
        [{"cpus": 1}],
        "tea",
        [7],
    ],
)
def test_resources_that_are_none_are_refused(resources: Any) -> None:
    with pytest.raises(ValueError, match=r"resources are|are numbers greater than 0"):
        Environment(resources=resources, executor=InlineExecutor()).close()


@pytest.mark.parametrize("config", [3, "tea", [("a", 1)]])
def test_config_that_is_no_dictionary_is_refused(config: Any) -> None:
    with pytest.raises(TypeError, match="config is a dictionary, not"):
        Environment(config=config, executor=InlineExecutor())


def test_executor_of_concurrent_futures_is_taken_and_stays_open() -> None:
    with ThreadPoolExecutor(2) as threads:
        with Environment(executor=threads) as env:
            assert items(env.parallelize_list([1, 2, 3], 2).map(lambda x: x + 1)) == [2, 3, 4]
        assert threads.submit(abs, -1).result() == 1


def test_context_of_another_signature(env: Environment) -> None:
    numbers = env.parallelize_list([1, 2], 2)

    def keyword_only(x: int, *, ctx: TSetContext | None = None) -> Any:
        return ctx

    class Odd:
        def __call__(self, x: int, ctx: TSetContext) -> int:
            return x + ctx.index

    assert items(numbers.map(keyword_only)) == [None, None]
    assert items(numbers.map(Odd())) == [1, 3]
    with pytest.raises(TypeError):
        items(numbers.map(lambda: 1))
    with pytest.raises(TypeError):
        items(numbers.map(lambda x, ctx, more: 1))


def test_pairs_of_any_kind_are_pairs(env: Environment) -> None:
    given: list[Any] = [("a", 1), ["a", 2]]

    def summed(of: Any) -> Iterator[Any]:
        return iter(items(env.parallelize_list(of, 2).keyed_reduce(operator.add)))

    assert dict(summed(given[:1])) == {"a": 1}
    with pytest.raises(Exception, match=r"'a', 'b', 'c'"):
        list(summed([("a", "b", "c")]))


def test_key_that_cant_be_hashed_is_shown(env: Environment) -> None:
    for parallelism in (1, 2):
        pairs = env.parallelize_list([([1], 2), (1, 2)], parallelism)
        for keyed in (pairs.keyed_reduce(operator.add), pairs.keyed_gather(), pairs.join(pairs)):
            with pytest.raises(TypeError, match=r"unhashable type: 'list' \(in .*, partition 0, item 0\)"):
                items(keyed)


def test_empty_partitions_everywhere(env: Environment) -> None:
    few = env.parallelize_list([3], 4).map(lambda x: x)
    assert [len(each) for each in partitions(few)].count(1) == 1
    assert items(few.compute(lambda itr: sum(itr)).reduce(operator.add)) == [3]
    assert [item for _, item in items(few.gather())] == [3]
    assert items(few.map(lambda x: (x, x)).keyed_reduce(operator.add)) == [(3, 3)]
    assert items(few.partition(env.functions.partition.load_balanced)) == [3]
    assert sorted(items(few.union(few))) == [3, 3]
    joined = few.map(lambda x: (x, x)).join(env.parallelize_list([], 2), "outer")
    assert items(joined) == [(3, (3, None))]


# What a review found


def test_a_decorated_function_is_given_ctx(env: Environment) -> None:
    def timed(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    @timed
    def indexed(item: int, ctx: Any) -> tuple[int, int]:
        return ctx.index, item

    assert items(env.parallelize_list([1, 2], 2).map(indexed)) == [(0, 1), (1, 2)]


def test_not_a_number_is_one_key(env: Environment) -> None:
    pairs = [(float("nan"), 1), ((float("nan"), 2), 2), (float("nan"), 3), ((float("nan"), 2), 4)]
    found = items(env.parallelize_list(pairs, 3).map(lambda pair: pair).keyed_gather())
    assert sorted(values for _, values in found) == [[1, 3], [2, 4]]


def test_an_error_keeps_its_attributes(env: Environment) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        env.parallelize_list([1], 1).map(lambda _: Path("/no/such/file").read_text()).get_data()
    assert (missing.value.errno, missing.value.filename) == (2, "/no/such/file")
    with pytest.raises(UnicodeDecodeError) as undecoded:
        env.parallelize_list([b"a\xff"], 1).map(lambda data: data.decode()).get_data()
    assert (undecoded.value.start, undecoded.value.object) == (1, b"a\xff")
    with pytest.raises(ModuleNotFoundError) as unknown:
        env.parallelize_list([1], 1).map(lambda _: __import__("no_such_module")).get_data()
    assert unknown.value.name == "no_such_module"


def test_a_class_with_arguments_by_name_is_caught_by_it(env: Environment) -> None:
    class Unwell(Exception):
        def __init__(self, code: int, *, extra: str) -> None:
            super().__init__(code)
            self.extra = extra

    def fail(item: int) -> None:
        raise Unwell(item, extra="tea")

    with pytest.raises(Unwell) as error:
        env.parallelize_list([7], 1).map(fail).get_data()
    assert (error.value.args, error.value.extra) == ((7,), "tea")


def test_a_fold_over_partitions_names_none(env: Environment) -> None:
    with pytest.raises(TypeError) as error:
        env.parallelize_list([1, "a"], 2).reduce(lambda one, other: one + other).get_data()
    assert "partition -1" not in str(error.value)


def test_a_function_that_has_a_set_or_the_environment_is_told_what_to_do(env: Environment) -> None:
    numbers = env.parallelize_list([1, 2], 2)
    with pytest.raises(Exception, match="add_input"):
        numbers.map(lambda item: numbers.name).get_data()
    with pytest.raises(Exception, match=r"ctx\.config"):
        numbers.map(lambda item: env.name).get_data()
