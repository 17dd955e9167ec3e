"""The Python side of parallel calls: results, what is marked, and values that must come back as they are."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import pytest

from erl.calls import parallel
from erl.names import traces
from erl.terms import Atom
from erl.values.scope import Scope, current

if TYPE_CHECKING:
    pass


@pytest.fixture
def worker(scope: Scope) -> None:
    """References can be held, for the length of a test."""
    scope.references.set_identity("worker", 1)


def items_of(error: BaseException) -> list[object]:
    return [frame[1] for frame in traces.trace_of(error) if frame[0] == "item"]  # type: ignore[index]


def test_map_gives_the_results_in_order_and_their_time() -> None:
    microseconds, values = parallel.map(Atom("operator"), Atom("neg"), [3, 1, 2], False)
    assert values == [-3, -1, -2]
    assert 0 <= microseconds < 10_000_000
    assert parallel.map(b"operator", b"neg", [], False)[1] == []


def test_map_keeps_results_here_when_asked_to(worker: None) -> None:
    _, values = parallel.map("builtins", "str", [1, 2], True)
    assert [current().references.resolve(*term[1:]) for term in values] == ["1", "2"]  # type: ignore[index]
    assert current().references.count_made() == 2


def test_map_holds_nothing_when_an_item_fails(worker: None) -> None:
    with pytest.raises(ZeroDivisionError):
        parallel.map(__name__, "inverse", [1, 0], True)
    assert current().references.count_made() == 0


@pytest.mark.parametrize("bad", [0, 1, 4])
def test_map_marks_the_item_that_failed_once(bad: int) -> None:
    items: list[object] = [1, 1, 1, 1, 1]
    items[bad] = 0
    with pytest.raises(ZeroDivisionError) as caught:
        parallel.map(__name__, "inverse", items, False)
    assert items_of(caught.value) == [bad]
    assert items_of(caught.value) == []  # for the next call that raises this exception


def test_map_takes_the_end_of_an_iteration_for_an_exception() -> None:
    with pytest.raises(StopIteration) as caught:
        parallel.map("builtins", "next", [iter([1]), iter([]), iter([2])], False)
    assert items_of(caught.value) == [1]


def test_reduce_gives_a_value_that_no_mapping_changes(key: bytes) -> None:
    _, term = parallel.reduce(__name__, "join", [b"a", b"b", b"c"])
    assert isinstance(term, tuple)
    assert term[:2] == (Atom("$erlport.opaque"), Atom("python"))
    assert current().pickles.loads(term[2]) == b"abc"


def test_reduce_keeps_here_what_cannot_be_pickled(worker: None) -> None:
    _, term = parallel.reduce("operator", "add", [(number for number in ())])
    assert isinstance(term, tuple)
    assert term[0] == "$py.ref"


def test_reduce_marks_the_second_argument_of_what_failed() -> None:
    with pytest.raises(TypeError) as caught:
        parallel.reduce("operator", "add", [1, 2, "x", 4])
    assert items_of(caught.value) == [2]


def test_combine_reduces_and_marks_nothing() -> None:
    assert parallel.combine("operator", "add", [1, 2, 3]) == 6
    with pytest.raises(TypeError) as caught:
        parallel.combine("operator", "add", [])
    assert items_of(caught.value) == []


def inverse(number: int) -> float:
    return 1 / number


def join(left: Any, right: Any) -> Any:
    return operator.add(left, right)
