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
    """At least 0; the same for keys that are equal. Raises `TypeError` for one of which that can't be said."""
    if isinstance(key, str) and _compares_as(key, str):
        return crc32(str.encode(key, "utf-8", "surrogatepass"))
    if isinstance(key, (bytes, bytearray, memoryview)):
        return crc32(key, 1)
    if isinstance(key, numbers.Number):
        return _number(key)
    if key is None:
        return 2
    if depth > _MOST_DEPTH:
        raise TypeError("a key with parts in parts, too many of them")
    if isinstance(key, tuple) and _compares_as(key, tuple):
        return _combined(3, [hashed(each, depth + 1) for each in key])
    if isinstance(key, frozenset) and _compares_as(key, frozenset):
        return _combined(4, sorted(hashed(each, depth + 1) for each in key))
    return _of_object(key, depth)


def _compares_as(key: Any, kind: Any) -> bool:
    """Whether it is equal to others as that type says, and not as a subclass does."""
    own: Any = type(key)
    return own is kind or own.__eq__ is kind.__eq__ or own.__module__ == "numpy"


def canonical(key: Any) -> Any:
    """The key by which values are grouped: NaN is one key, whichever object it is; so it is in each engine."""
    kind = type(key)
    if kind is str or kind is int or kind is bytes:
        return key
    if isinstance(key, tuple):
        parts = [canonical(each) for each in key]
        if all(one is other for one, other in zip(parts, key, strict=True)):
            return key
        make = getattr(kind, "_make", kind)
        return make(parts)
    if isinstance(key, numbers.Number) and key != key:
        return _nans.setdefault(kind, key)
    return key


_nans: dict[type, Any] = {}
"""The one of each type that stands for all."""


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
    """What is no text, no number and no tuple: the types of which it is known when two are equal."""
    kind: Any = type(key)
    if kind.__hash__ is None:
        raise TypeError(f"unhashable type: {kind.__name__!r}")
    if kind.__module__ == "numpy" and kind.__name__ in ("bool", "bool_"):  # a number, and no `Number`
        return _number(bool(key))
    known = _known(key)
    if known is None:
        raise TypeError(
            f"of a {kind.__qualname__} nobody can say in another worker to which keys it is equal: "
            f"map it to a text, a number or a tuple of them, or say by a partition_func where it goes: {key!r:.100}"
        )
    return _combined(known[0], [hashed(each, depth + 1) for each in known[1:]])


def _known(key: Any) -> tuple[Any, ...] | None:
    """A number of its kind, and values that are equal where such keys are."""
    import datetime
    import enum
    import ipaddress
    import pathlib
    import uuid

    kind: Any = type(key)
    if isinstance(key, enum.Enum):
        return 6, kind.__qualname__, key.name
    if isinstance(key, datetime.datetime):
        offset = key.utcoffset()
        return (
            7,
            key.isoformat() if offset is None else (key.replace(tzinfo=None) - offset).isoformat(),
            offset is None,
        )
    if isinstance(key, datetime.time):
        offset = key.utcoffset()
        since = datetime.timedelta(0, (key.hour * 60 + key.minute) * 60 + key.second, key.microsecond)
        return 9, str(since if offset is None else since - offset), offset is None
    if isinstance(key, datetime.date):
        return 10, key.isoformat()
    if isinstance(key, datetime.timedelta):
        return 11, key.days, key.seconds, key.microseconds
    if isinstance(key, range):
        return 12, len(key), *key[:1], key.step if len(key) > 1 else 0
    if isinstance(key, uuid.UUID):
        return 13, key.int
    if isinstance(key, pathlib.PurePath):
        windows = isinstance(key, pathlib.PureWindowsPath)
        return 14, key.as_posix().lower() if windows else str(key)
    if isinstance(key, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return 15, key.version, int(key)
    if isinstance(key, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return 16, key.version, int(key.network_address), key.prefixlen
    if isinstance(key, type) or kind.__name__ == "builtin_function_or_method":
        return 17, str(key.__module__), key.__qualname__
    if kind.__module__ == "numpy":
        return _of_numpy(key)
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None and _is_generated(kind.__eq__):
        return 8, kind.__qualname__, *(getattr(key, name) for name, field in fields.items() if field.compare)
    return None


def _of_numpy(key: Any) -> tuple[Any, ...] | None:
    code = getattr(getattr(key, "dtype", None), "kind", "")
    if code in ("M", "m"):
        return 19, code, int(key.astype(f"{code}8[us]").astype("int64"))
    return None


def _is_generated(function: Any) -> bool:
    """Whether it is the one that `dataclasses` has made, which compares the fields."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == "<string>"
