"""What a handler's value comes to: outputs, their names, and what is said about them."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pytest

from erl.functions import handlers
from erl.functions.handlers import handler


def named(value: Any, **keywords: Any) -> tuple[dict[str, Any], list[str]]:
    @handler(**keywords)
    def function() -> None: ...

    split, warnings = handlers.split(value, handlers.declared_by(function))
    return {output.name: item for output, item in split}, warnings


@pytest.mark.parametrize(
    ("value", "outputs"),
    [
        (None, {}),
        ((), {}),
        ("hello", {"output_0": "hello"}),
        ((1, 2), {"output_0": 1, "output_1": 2}),
        ((None, 5), {"output_0": None, "output_1": 5}),
        ([1, 2], {"output_0": [1, 2]}),
        (((1, 2),), {"output_0": (1, 2)}),
        (False, {"output_0": False}),
        (namedtuple("Pair", "a b")(1, 2), {"output_0": 1, "output_1": 2}),
    ],
)
def test_values_without_names(value: Any, outputs: dict[str, Any]) -> None:
    assert named(value) == (outputs, [])


def test_an_exploded_list_is_one_output_for_each_item() -> None:
    assert named([1, 2], explode=True) == ({"output_0": 1, "output_1": 2}, [])
    assert named([1, 2], outputs=["a", "b"], explode=True) == ({"a": 1, "b": 2}, [])
    assert named([1, 2], outputs=["a"]) == ({"a": [1, 2]}, [])


def test_more_values_than_names_are_named_by_their_places() -> None:
    outputs, (warning,) = named((1, 2, 3), outputs=["a"])
    assert outputs == {"a": 1, "output_1": 2, "output_2": 3}
    assert "3 values, and names 1 output:" in warning
    assert "output_1, output_2" in warning


def test_more_names_than_values_are_warned_of() -> None:
    outputs, (warning,) = named(1, outputs=["a", "b", "c"])
    assert outputs == {"a": 1}
    assert "there is no b, c" in warning
    assert named(None, outputs=["a"]) == (
        {},
        ["the handler returned 0 values, and names 1 output: there is no a"],
    )


def test_a_name_that_is_taken_is_given_to_nobody_else() -> None:
    assert named((1, 2), outputs=["output_1"])[0] == {"output_1": 1, "output_1_": 2}


def test_outputs_are_names_or_dicts() -> None:
    @handler(
        outputs=["a", {"name": "b", "kind": "model", "spec_kwargs": {"framework": "own"}}, {"name": "c"}]
    )
    def function() -> None: ...

    outputs = handlers.declared_by(function).outputs
    assert [(each.name, each.kind, each.spec_kwargs) for each in outputs] == [
        ("a", None, {}),
        ("b", "model", {"framework": "own"}),
        ("c", None, {}),
    ]


@pytest.mark.parametrize(
    "outputs",
    [
        "result",
        b"result",
        {"name": "a"},
        [1],
        [""],
        [{"kind": "model"}],
        [{"name": "a", "kind": "x"}],
        ["a", "a"],
    ],
)
def test_outputs_that_are_none_are_refused(outputs: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        handler(outputs=outputs)


def test_a_decorated_function_is_just_a_function() -> None:
    @handler(outputs=["result"])
    def function(a: int, b: int = 2) -> int:
        return a + b

    @handler
    def bare() -> str:
        return "bare"

    assert function(1) == 3
    assert function.__name__ == "function"
    assert bare() == "bare"
    assert [each.name for each in handlers.declared_by(function).outputs] == ["result"]


def test_a_decorator_above_and_a_function_of_c() -> None:
    import functools

    @functools.lru_cache
    @handler(outputs=["result"])
    def cached() -> int:
        return 1

    assert [each.name for each in handlers.declared_by(cached).outputs] == ["result"]
    root = handler(outputs=["root"])(len)
    assert root([1, 2]) == 2
    assert [each.name for each in handlers.declared_by(root).outputs] == ["root"]


@pytest.mark.parametrize(
    ("name", "entity"),
    [
        ("data", "data"),
        ("output_0", "output-0"),
        ("My Data", "my-data"),
        ("ä", "output-3"),
        ("-x-", "x"),
        ("a" * 99, "a" * 63),
    ],
)
def test_names_of_entities_are_parts_of_paths(name: str, entity: str) -> None:
    assert handlers.entity_name(name, 3) == entity
