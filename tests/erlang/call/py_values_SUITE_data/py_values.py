"""Values by their Python expression, and what became of one on its way."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import math
import os
import uuid
import weakref
import zoneinfo
from typing import Any, ClassVar

import erl


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass
class Record:
    number: int
    text: str


class Point:
    """Has an encoder and a decoder where the pool names them."""

    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self) -> int:
        return hash((self.x, self.y))


class Point3(Point):
    """Encoded as its base class."""


class Fragile:
    """Its encoder raises."""


def encode_point(point: Point) -> object:
    return erl.Atom("point"), [point.x, point.y]


def decode_point(payload: list[int]) -> Point:
    return Point(*payload)


def encode_fragile(value: Fragile) -> object:
    raise RuntimeError("fragile indeed")


def decode_fragile(payload: object) -> object:
    raise RuntimeError("can't be read")


_NAMESPACE = {
    **{
        module.__name__: module
        for module in (array, collections, datetime, decimal, fractions, math, uuid, zoneinfo)
    },
    "Atom": erl.Atom,
    "Colour": Colour,
    "Level": Level,
    "Pair": Pair,
    "Point": Point,
    "Point3": Point3,
    "Fragile": Fragile,
    "Record": Record,
}


def make(expression: str) -> Any:
    """The value of a Python expression."""
    return eval(expression, dict(_NAMESPACE))


def wrapped(expression: str) -> list[Any]:
    """The value at several depths."""
    value = make(expression)
    return [[value], (value,), {"key": value}, [({"key": [value]},)], {1: {2: (value, [value])}}]


def same(expression: str, value: Any) -> Any:
    """True where `value` is what the expression gives, with the same type at every depth; else both, as text."""
    expected = make(expression)
    return _same(expected, value) or f"expected {expected!r}, got {value!r}"


def all_same(expression: str, values: list[Any]) -> Any:
    """`same` for the value inside a list, a tuple, a dict, a mixture."""
    value = make(expression)
    expected = [[value], (value,), {"key": value}, [({"key": [value]},)], {1: {2: (value, [value])}}]
    return _same(expected, values) or f"expected {expected!r}, got {values!r}"


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and not isinstance(one, collections.Counter):
        return _same(list(one.items()), list(other.items()))
    return bool(one == other)


def identity(value: Any) -> Any:
    return value


def type_name(value: Any) -> str:
    return type(value).__name__


def representation(value: Any) -> str:
    return repr(value)


def cast_to(receiver: Any, message: Any) -> None:
    erl.cast(receiver, message)


def pid() -> int:
    return os.getpid()


class Kept:
    """Can't be pickled, and is counted."""

    living: ClassVar[weakref.WeakSet[Kept]] = weakref.WeakSet()

    def __init__(self, name: str = "") -> None:
        self.name = name
        Kept.living.add(self)

    def __reduce__(self) -> Any:
        raise TypeError("a Kept can't be pickled")


def living() -> int:
    """How many objects of `Kept` there are."""
    gc.collect()
    return len(Kept.living)


def generator() -> Any:
    yield 1
    yield 2
