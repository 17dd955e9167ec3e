"""Values as JSON that says all of them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erl.functions import said

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEYS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each) | st.lists(each).map(tuple) | st.dictionaries(KEYS, each),
    max_leaves=20,
)


def exact(value: Any) -> Any:
    if isinstance(value, dict):
        return [(exact(key), exact(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [exact(item) for item in value]
    return type(value), repr(value)


@given(VALUES)
def test_what_is_said_is_read_as_it_was(value: Any) -> None:
    text = said.dumps(value)
    assert exact(said.loads(text)) == exact(value)
    json.loads(text)


def test_what_json_has_is_as_json_has_it() -> None:
    assert said.dumps({"a": [1, 2.5, None, True, "é"]}) == '{"a":[1,2.5,null,true,"é"]}'
    assert math.isnan(said.loads(said.dumps(math.nan)))
    assert said.loads(said.dumps({"$tuple": [1]})) == {"$tuple": [1]}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value", [b"x", {1, 2}, object(), Text("x"), {(1,): 2}, 1j, "\ud800", nested(300), [{"a": b"x"}]]
)
def test_what_json_can_t_say_is_not_said(value: Any) -> None:
    with pytest.raises(said.NotSaid):
        said.dumps(value)
    assert not said.is_said(value)


def test_scalars_of_numpy_are_python_s() -> None:
    numpy = pytest.importorskip("numpy")
    value = {
        "a": numpy.int64(3),
        "b": [numpy.float64(0.5), numpy.bool_(True)],
        "c": numpy.str_("x"),
        "d": numpy.float32(0.5),
    }
    assert exact(said.plain(value)) == exact({"a": 3, "b": [0.5, True], "c": "x", "d": 0.5})
    for other in (
        numpy.array([1]),
        numpy.datetime64("2026-01-01"),
        numpy.complex128(1j),
        numpy.longdouble(1),
    ):
        assert not said.is_said(other)
