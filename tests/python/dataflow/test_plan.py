"""The plan, which partition a key belongs to, the numbers that sources draw: what needs no worker."""

from __future__ import annotations

import datetime
import enum
import io
import ipaddress
import os
import pathlib
import random
import subprocess
import sys
import uuid
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import pytest
from dataflow.engines import Numbers
from hypothesis import given
from hypothesis import strategies as st

from erl.dataflow import Environment, chain, exchange, extents, plan, progress, seeds
from erl.dataflow.functions import LoadBalanced, positional
from erl.dataflow.hashing import destination, hashed


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Place:
    name: str
    at: Point


class Colour(enum.Enum):
    RED = "red"


KEYS: list[Any] = [
    0,
    -1,
    2**70,
    1.5,
    float("inf"),
    None,
    True,
    "",
    "a",
    "\ud800",
    b"a",
    (1, ("a", None)),
    frozenset("abc"),
    Point(1, 2),
    Place("here", Point(1, 2)),
    Colour.RED,
    Decimal("1.1"),
    Fraction(1, 3),
    datetime.date(2020, 1, 1),
    datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc),
    uuid.UUID(int=5),
    complex(1, 2),
]

SAME: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    (0.5, Fraction(1, 2)),
    (1, Decimal(1)),
    (0.0, -0.0),
    ((1, 2), Point(1, 2)),
    (
        datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.timezone.utc),
        datetime.datetime(2020, 1, 1, 14, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    ),
    (frozenset([1, 2]), frozenset([2, 1])),
    (range(0), range(5, 2)),
    (range(1, 2), range(1, 3, 7)),
    (
        datetime.time(12, tzinfo=datetime.timezone.utc),
        datetime.time(14, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    ),
    (pathlib.Path("/a"), pathlib.PurePosixPath("/a")),
    (ipaddress.ip_address("::1"), ipaddress.ip_address("0:0::1")),
    (int, int),
    (len, len),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_keys_are_in_the_same_partition(one: Any, other: Any) -> None:
    assert one == other
    assert [destination(one, count) for count in range(1, 9)] == [
        destination(other, count) for count in range(1, 9)
    ]


def test_numpy_s_numbers_are_equal_keys() -> None:
    numpy = pytest.importorskip("numpy")
    assert hashed(numpy.int64(7)) == hashed(7) == hashed(numpy.float32(7))
    assert hashed(numpy.str_("a")) == hashed("a")


@dataclass(frozen=True)
class OwnEquality:
    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnEquality) and self.text.lower() == other.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())


class OwnText(str):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


@pytest.mark.parametrize("key", [OwnEquality("a"), OwnText("a"), ("b", OwnText("a"))])
def test_a_key_with_an_equality_of_its_own_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match="nobody can say in another worker"):
        hashed(key)


def test_numpy_s_truths_and_dates_are_equal_keys() -> None:
    numpy = pytest.importorskip("numpy")
    assert hashed(numpy.True_) == hashed(True) == hashed(1)
    assert hashed(numpy.datetime64("2020-01-01")) == hashed(numpy.datetime64("2020-01-01T00"))


def test_no_seed_of_python_s_plays_a_part() -> None:
    """Another interpreter, with another `PYTHONHASHSEED`, has the same numbers."""
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; from dataflow.test_plan import KEYS, hashed; "
        "print([hashed(each) for each in KEYS])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *sys.path],
        env={**os.environ, "PYTHONHASHSEED": "1234"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip() == str([hashed(each) for each in KEYS])


@pytest.mark.parametrize("key", [[], {}, object(), (1, []), [1]])
def test_what_can_be_no_key_says_so(key: Any) -> None:
    with pytest.raises(TypeError):
        destination(key, 4)


def test_keys_are_spread() -> None:
    for keys in (range(1000), range(0, 8000, 8), [f"key{number}" for number in range(1000)]):
        counts = [0] * 8
        for key in keys:
            counts[destination(key, 8)] += 1
        assert min(counts) > 60


def test_a_chain_of_narrow_operations_is_one_stage() -> None:
    source = plan.Operation("source", 1, None, (), 4)
    mapped = plan.Operation("map", 2, abs, (source,), 4)
    last = plan.Operation("flat_map", 3, range, (mapped,), 4)
    made = plan.stage(last)
    assert (made.base, made.steps) == (source, [mapped, last])
    reduced = plan.Operation("reduce", 4, max, (last,), 1)
    made = plan.stage(plan.Operation("map", 5, abs, (reduced,), 1))
    assert (made.base, len(made.steps)) == (reduced, 1)


def test_what_is_frozen_has_the_inputs_of_that_time() -> None:
    source = plan.Operation("source", 1)
    one, other = plan.Operation("list", 2), plan.Operation("list", 3)
    mapped = plan.Operation("map", 4, abs, (source,))
    behind = plan.Operation("map", 5, abs, (mapped,))
    mapped.inputs["x"] = one
    frozen = plan.freeze(behind)
    mapped.inputs["x"] = other
    assert frozen.inputs["x"].id == frozen.parents[0].inputs["x"].id == 2
    assert plan.freeze(behind).inputs["x"].id == 3


def test_a_long_chain_is_frozen() -> None:
    operation = plan.Operation("source", 0)
    for number in range(5000):
        operation = plan.Operation("map", number, abs, (operation,))
    assert len(plan.stage(plan.freeze(operation)).steps) == 5000


class Callable2:
    def method(self, x: int, ctx: Any) -> int:
        return x

    def __call__(self, x: int) -> int:
        return x


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x: x, 1),
        (lambda x, ctx: x, 2),
        (lambda x, y=1: x, 1),
        (lambda *args: args, 1),
        (lambda x, *, ctx=None: x, 1),
        (lambda x, collector, ctx: x, 3),
        (partial(lambda a, x: x, 1), 1),
        (partial(lambda a, x, ctx: x, 1), 2),
        (Callable2().method, 2),
        (Callable2(), 1),
        (print, 1),
        (pow, 1),
        (str, 1),
        (max, 1),
    ],
)
def test_a_function_is_given_what_it_takes(function: Any, count: int) -> None:
    assert positional(function) == count


def step(kind: str, function: Any = None) -> chain.Step:
    return chain.Step(kind, 1, kind, kind, 1, function, 1, {}, {})


@given(st.lists(st.lists(st.integers(), max_size=5), max_size=8))
def test_steps_give_the_same_however_batches_are_cut(batches: list[list[int]]) -> None:
    steps = [step("map", lambda x: x + 1), step("flat_map", lambda x: [x, -x]), step("map", str)]
    expected = [str(each) for batch in batches for x in batch for each in (x + 1, -x - 1)]
    found = [each for batch in chain.through(iter(batches), steps, lambda _: None) for each in batch]
    assert found == expected


@given(st.lists(st.lists(st.integers(0, 20), max_size=5), max_size=8), st.integers(0, 20))
def test_a_function_that_raises_is_located(batches: list[list[int]], bad: int) -> None:
    items = [each for batch in batches for each in batch]
    for kind in ("map", "for_each", "flat_map"):

        def refusing(x: int) -> Any:
            return [1 // (x != bad)]

        raised: list[chain.Located] = []
        try:
            list(chain.through(iter(batches), [step(kind, refusing)], lambda _: None))
        except chain.Located as error:
            raised.append(error)
        assert [each.item for each in raised] == ([items.index(bad)] if bad in items else [])
        assert all(isinstance(each.error, ZeroDivisionError) for each in raised)


def test_iterables_without_end_are_taken_bit_by_bit() -> None:
    import itertools

    endless = chain.through(iter([[1]]), [step("flat_map", itertools.count)], lambda _: None)
    assert next(endless)[0] == 1
    large = chain.through(iter([[10_000]] * 2), [step("map", bytearray)], lambda _: None)
    assert sum(len(batch) for batch in large) == 2


@given(st.lists(st.integers(0, 9), max_size=9))
def test_load_is_balanced_by_the_function_itself_too(items: list[int]) -> None:
    function = LoadBalanced()
    function.prepare({0}, {0, 1, 2})
    counts = [0, 0, 0]
    for item in items:
        to = function.partition(0, item)
        function.commit(0, to)
        counts[to] += 1
    assert max(counts) - min(counts) <= 1


def test_additions_are_known() -> None:
    assert exchange.is_addition(lambda a, b: a + b)
    assert exchange.is_addition(__import__("operator").add)
    assert not exchange.is_addition(lambda a, b: b + a)
    assert not exchange.is_addition(lambda a, b: a + b + 1)
    assert not exchange.is_addition(lambda a, b, c=1: a + b)
    assert not exchange.is_addition(max)


class Drawing(Numbers):
    def next(self) -> Any:
        super().next()
        import numpy

        return random.random(), float(numpy.random.rand())


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_source_draws_the_same_again(is_shared: bool) -> None:
    pytest.importorskip("numpy")

    def drawn(seed: int, set_id: int, index: int) -> list[Any]:
        return list(seeds.seeded(Drawing(5), seed, set_id, index, is_shared))

    first = drawn(1, 2, 3)
    assert drawn(1, 2, 3) == first == list(seeds.seeded(Drawing(5), 1, 2, 3, not is_shared))
    assert len({tuple(drawn(*each)) for each in [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4)]}) == 4


def test_sources_in_one_process_leave_its_numbers_alone() -> None:
    random.seed(7)
    expected = random.random()
    random.seed(7)
    list(seeds.seeded(Numbers(5), 1, 1, 1, True))
    assert random.random() == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_where_a_person_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(progress, "_EACH_SECONDS", 0)
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with Environment("letters", executor="inline") as env:
            assert env.parallelize_list("abcd", 4).map(str.upper).get_data().partition_count == 4
        assert ("letters: map-2 [" in stream.getvalue()) is is_shown
        assert stream.getvalue().endswith("\r\033[K") is is_shown


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        (b"x" * 10_000, 10_000, 11_000),
        ([1] * 1000, 8000, 50_000),
        ({"a": "b" * 1000}, 1000, 3000),
        ([["x" * 100] * 10] * 100, 80_000, 300_000),
    ],
)
def test_sizes_are_nearly_right(value: Any, least: int, most: int) -> None:
    assert least <= extents.size_of(value) <= most
