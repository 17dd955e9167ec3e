"""Values of Haystack by their Python expression, and what became of one on its way."""

from __future__ import annotations

import datetime
import importlib.util
import zoneinfo
from typing import Any

from erl import haystack

_NAMESPACE: dict[str, Any] = {
    **{name: getattr(haystack, name) for name in haystack.__all__},
    "datetime": datetime,
    "zoneinfo": zoneinfo,
}


def has(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def make(expression: str) -> object:
    """The value of an expression, in which numpy and others are imported when they are named."""
    for name in ("numpy", "pandas", "polars"):
        if name in expression:
            _NAMESPACE[name] = __import__(name)
    return eval(expression, _NAMESPACE)


def wrapped(expression: str) -> list[object]:
    """The value in the places of `places/1` of the suite."""
    value = make(expression)
    return [[value], (value,), {"key": value}, haystack.Grid(["a"], [[value]], {"m": value})]


def same(expression: str, value: Any) -> bool | str:
    """Whether a value that came from Erlang is that of the expression, or what it is instead."""
    expected = make(expression)
    return shown(value) == shown(expected) or repr(value)


def all_same(expression: str, values: Any) -> bool | str:
    """The same for the places of a value."""
    (one,), (two,), keyed, grid = values
    found = [one, two, keyed["key"], grid[0]["a"], grid.meta["m"]]
    wrong = [repr(value) for value in found if shown(value) != shown(make(expression))]
    return not wrong or wrong[0]


def shown(value: Any) -> object:
    """A value with all that `==` does not look at."""
    if isinstance(value, haystack.Grid):
        return repr(dict(value.meta)), repr(value.cols), [repr(row) for row in value]
    if hasattr(value, "dtype"):
        return repr(value.dtype), value.shape, value.tobytes()
    return type(value), repr(value)


def type_name(value: object) -> str:
    return type(value).__name__


def frame_sum(grid: haystack.Grid, name: str) -> object:
    return grid.to_dataframe()[name].sum()


def scaled(grid: haystack.Grid, name: str, factor: float) -> object:
    frame = grid.to_dataframe()
    frame[name] = frame[name] * factor
    return frame


def arrow_rows(content: bytes) -> object:
    import pyarrow

    return pyarrow.ipc.open_stream(content).read_all().to_pylist()
