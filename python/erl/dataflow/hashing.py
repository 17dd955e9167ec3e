"""Which partition a key belongs to: equal keys to the same one, in every worker and in every run.

Python's `hash` of numbers is such a number, and equal for equal numbers of all types; that of texts is drawn anew by
each interpreter (`PYTHONHASHSEED`), and that of most objects is where they lie. So texts are summed up by CRC-32, and
what has parts by its parts.
"""

from __future__ import annotations

import numbers
from zlib import crc32

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_MASK: Final = (1 << 64) - 1
_ODD: Final = 0x9E3779B97F4A7C15
"""Spreads numbers that are alike (Knuth's multiplicative hash, 64 bits)."""
_MOST_DEPTH: Final = 64


def destination(key: Any, count: int) -> int:
    """The partition of a key, of so many. Raises `TypeError` for one that has no such number."""
    if type(key) is str:
        return crc32(key.encode("utf-8", "surrogatepass")) % count
    return hashed(key) % count


def hashed(key: Any, depth: int = 0) -> int:
    """At least 0; the same for keys that are equal."""
    if isinstance(key, str):
        return crc32(str.encode(key, "utf-8", "surrogatepass"))
    if isinstance(key, (bytes, bytearray, memoryview)):
        return crc32(key, 1)
    if isinstance(key, numbers.Number):
        return _number(key)
    if key is None:
        return 2
    if depth > _MOST_DEPTH:
        raise TypeError("a key with parts in parts, too many of them")
    if isinstance(key, tuple):
        return _combined(3, [hashed(each, depth + 1) for each in key])
    if isinstance(key, frozenset):
        return _combined(4, sorted(hashed(each, depth + 1) for each in key))
    return _of_object(key, depth)


def _number(key: Any) -> int:
    if key != key:
        return 5  # not a number: its hash is where it lies
    return (((hash(key) & _MASK) * _ODD) & _MASK) >> 16


def _combined(start: int, parts: list[int]) -> int:
    found = start
    for each in parts:
        found = ((found ^ each) * _ODD) & _MASK
        found ^= found >> 29
    return found


def _of_object(key: Any, depth: int) -> int:
    """By what it says of itself to be copied: its type and its state."""
    import datetime
    import enum

    if isinstance(key, enum.Enum):
        return _combined(6, [hashed(type(key).__qualname__), hashed(key.name)])
    if isinstance(key, datetime.datetime):
        offset = key.utcoffset()
        if offset is not None:
            return _combined(7, [hashed((key.replace(tzinfo=None) - offset).isoformat())])
        return hashed(key.isoformat())
    if isinstance(key, (datetime.date, datetime.time)):
        return hashed(key.isoformat())
    kind: Any = type(key)
    if kind.__hash__ is None:
        raise TypeError(f"unhashable type: {kind.__name__!r}")
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None:
        state: Any = tuple(getattr(key, name) for name, field in fields.items() if field.compare)
    elif kind.__hash__ is object.__hash__:
        raise TypeError(
            f"a {kind.__qualname__} is equal to itself alone, so no other worker would know it as a key: {key!r:.100}"
        )
    else:
        try:
            state = key.__reduce_ex__(2)[1:3]
        except Exception as error:
            raise TypeError(f"a {kind.__qualname__} can't be a key: {error}") from None
    return _combined(8, [hashed(kind.__qualname__), hashed(_frozen(state), depth + 1)])


def _frozen(state: Any) -> Any:
    """The state of an object with its lists and dictionaries as tuples."""
    if isinstance(state, dict):
        return tuple(sorted(((hashed(key), hashed(_frozen(value))) for key, value in state.items())))
    if isinstance(state, (list, tuple)):
        return tuple(_frozen(each) for each in state)
    if isinstance(state, set):
        return frozenset(state)
    if isinstance(state, type):
        return state.__qualname__
    return state
