"""Tagged forms on their way in: what `{"date", {1923, 4, 2}}` and its like stand for.

A builder gets the decoded payload and returns the value, or `NOT_FIT`: then the tuple is the user's own and
stays one. The rare types are imported when the first of them arrives.
"""

from __future__ import annotations

from erl import errors, terms
from erl.codec import tags
from erl.codec.atoms import FLOATS
from erl.values import callout
from erl.values.payloads import NOT_FIT, text, text_of_code_points

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    Builder = Callable[[Any], object]


_RANGE_ERRORS = (ValueError, OverflowError)


def hashable(value: Any) -> Any:
    """A value for a key or a set: a list there was a string, at any depth of tuples.

    Raises TypeError for a list of anything else; other unhashable values are found when they are hashed.
    """
    kind = type(value)
    if kind is list:
        string = text_of_code_points(value)
        if string is None:
            raise TypeError("a list")
        return string
    if kind is tuple:
        return tuple(map(hashable, value))
    return value


def hashables(values: list[Any]) -> list[Any]:
    """`hashable` of each value; the list itself where that changes nothing."""
    if not _CHANGED.isdisjoint(map(type, values)):
        return list(map(hashable, values))
    return values


_CHANGED = frozenset((list, tuple))


def dict_of(keys: list[Any], values: list[Any]) -> dict[Any, Any] | None:
    """A dict, its keys made hashable; None where one can't be. Keys equal in Python fall together."""
    if _SAFE_TO_HASH.issuperset(map(type, keys)):
        return _zipped(keys, values)
    return callout.run(errors.DecodeError, "hashing the keys", _zipped, keys, values)


def _zipped(keys: list[Any], values: list[Any]) -> dict[Any, Any] | None:
    try:
        return dict(zip(hashables(keys), values, strict=True))
    except TypeError:
        return None


def told_apart(
    keys: list[Any], starts: list[int], data: bytes, raw: Callable[[bytes], Any]
) -> list[Any] | None:
    """Keys or elements that are different terms, of which some are equal in Python: a binary is `bytes` where a string
    of the same text stands beside it, as in a dict with the keys `'a'` and `b'a'`, in tuples and frozensets likewise.
    None where not all are told apart. `raw` reads a term with its binaries as `bytes`.
    """
    texts = hashables(keys)
    kinds = [data[start] for start in starts]
    binaries = {text for text, kind in zip(texts, kinds, strict=True) if kind == tags.BINARY}
    both = binaries.intersection(text for text, kind in zip(texts, kinds, strict=True) if kind in _STRINGS)
    apart = [
        text.encode() if kind == tags.BINARY and text in both and type(text) is str else text
        for text, kind in zip(texts, kinds, strict=True)
    ]
    if len(set(apart)) < len(apart):
        apart = _tuples_told_apart(keys, apart)
    if len(set(apart)) < len(apart):
        apart = _sets_told_apart(apart, starts, data, raw)
    return apart if len(set(apart)) == len(apart) else None


def _sets_told_apart(
    made: list[Any], starts: list[int], data: bytes, raw: Callable[[bytes], Any]
) -> list[Any]:
    """The same with binaries as `bytes` in each `frozenset` that equals another one."""
    from collections import Counter

    from erl.codec.extents import end_of_term

    count = Counter(made)
    return [
        raw(b"\x83" + data[start : end_of_term(data, start)])
        if type(value) is frozenset and count[value] > 1
        else value
        for value, start in zip(made, starts, strict=True)
    ]


def _tuples_told_apart(keys: list[Any], made: list[Any]) -> list[Any]:
    equal: dict[Any, list[tuple[Any, ...]]] = {}
    for key, value in zip(keys, made, strict=True):
        if type(key) is tuple:
            equal.setdefault(value, []).append(key)
    pairs = zip(keys, made, strict=True)
    return [_beside(key, equal[value]) if type(key) is tuple else value for key, value in pairs]


def _beside(key: tuple[Any, ...], others: list[Any]) -> tuple[Any, ...]:
    """A tuple for a key, with `bytes` where one of those that equal it has a string."""
    parts: list[Any] = []
    for at, part in enumerate(key):
        beside = [other[at] for other in others if type(other) is tuple]
        if type(part) is tuple:
            parts.append(_beside(part, beside))
        elif type(part) is str and any(type(other) is list for other in beside):
            parts.append(part.encode())
        else:
            parts.append(hashable(part))
    return tuple(parts)


_STRINGS = frozenset((tags.NIL, tags.STRING, tags.LIST))

_SAFE_TO_HASH = frozenset((str, int, float, bool, type(None), bytes, list, terms.Atom))


def _integers(payload: object, count: int) -> tuple[int, ...] | None:
    if type(payload) is tuple and len(payload) == count and {int}.issuperset(map(type, payload)):
        return payload
    return None


def _date(payload: object) -> object:
    parts = _integers(payload, 3)
    if parts is None:
        return NOT_FIT
    import datetime

    try:
        return datetime.date(*parts)
    except _RANGE_ERRORS:
        return NOT_FIT


def _clock(payload: Any, count: int, type_name: str) -> object:
    """A time or a datetime: integers, then what tells the zone."""
    if type(payload) is not tuple or len(payload) != count + 1:
        return NOT_FIT
    parts = _integers(payload[:count], count)
    if parts is None:
        return NOT_FIT
    tz = zone(payload[count])
    if tz is NOT_FIT:
        return NOT_FIT
    import datetime

    try:
        return getattr(datetime, type_name)(*parts, tz)
    except _RANGE_ERRORS:
        return NOT_FIT


def zone(payload: Any) -> Any:
    """What tells the zone of a time: None, a zone, or the name of one as text.

    Raises `errors.DecodeError` for the name of none: a time whose zone is misspelt must not become a tuple.
    """
    import datetime

    if payload is None or isinstance(payload, datetime.tzinfo):
        return payload
    if (
        type(payload) is terms.Atom and payload == "undefined"
    ):  # as the form is written, whatever atom None is
        return None
    key = text(payload)
    if not key and type(payload) is tuple and len(payload) == 2 and text(payload[0]) == "zoneinfo":
        key = text(payload[1])  # the form, which named no zone
    if not key or len(key) < _LEAST_ZONE:
        return NOT_FIT
    if key == "UTC":  # known also where there are no others
        return datetime.timezone.utc
    found = _zoneinfo(key)
    if found is NOT_FIT:
        raise errors.DecodeError(_no_zone(key))
    return found


_LEAST_ZONE = len("NZ")
"""A single letter is nobody's zone, and nobody's slip for one."""


def _no_zone(key: str) -> str:
    import difflib
    import zoneinfo

    known = zoneinfo.available_timezones()
    if not known:
        return f"there is no time zone {key[:100]!r}: this Python knows none at all (pip install tzdata)"
    # Whatever case, and the city alone.
    names = {name.lower(): name for name in known}
    cities = {name.rpartition("/")[2].lower(): name for name in known}
    wanted = key[:100].lower()
    near = difflib.get_close_matches(wanted, names, 1) or difflib.get_close_matches(wanted, cities, 1)
    hint = f"; did you mean {names.get(near[0]) or cities[near[0]]!r}?" if near else ""
    return f"there is no time zone {key[:100]!r}{hint}"


def _time(payload: object) -> object:
    return _clock(payload, 4, "time")


def _datetime(payload: object) -> object:
    return _clock(payload, 7, "datetime")


def timedelta(payload: object) -> object:
    """Days, seconds, microseconds."""
    parts = _integers(payload, 3)
    if parts is None:
        return NOT_FIT
    import datetime

    try:
        return datetime.timedelta(*parts)
    except _RANGE_ERRORS:
        return NOT_FIT


def _timezone(payload: object) -> object:
    if type(payload) is not int:
        return NOT_FIT
    import datetime

    try:
        return datetime.timezone(datetime.timedelta(seconds=payload))
    except _RANGE_ERRORS:
        return NOT_FIT


def _zoneinfo(payload: object) -> object:
    key = text(payload)
    if not key:
        return NOT_FIT
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(key)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return NOT_FIT


def _decimal(payload: object) -> object:
    number = text(payload)
    if number is None:
        return NOT_FIT
    import decimal

    try:
        return decimal.Decimal(number)
    except (decimal.InvalidOperation, ValueError):
        return NOT_FIT


def _fraction(payload: object) -> object:
    parts = _integers(payload, 2)
    if parts is None or parts[1] == 0:
        return NOT_FIT
    import fractions

    return fractions.Fraction(*parts)


def _float(value: object) -> float | None:
    if type(value) is terms.Atom:
        return FLOATS.get(value)
    if type(value) is float or type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return None
    return None


def _complex(payload: object) -> object:
    if type(payload) is not tuple or len(payload) != 2:
        return NOT_FIT
    real, imaginary = map(_float, payload)
    if real is None or imaginary is None:
        return NOT_FIT
    return complex(real, imaginary)


def _range(payload: object) -> object:
    parts = _integers(payload, 3)
    if parts is None or not parts[2]:
        return NOT_FIT
    return range(*parts)


def _uuid(payload: object) -> object:
    digits = text(payload)
    if digits is None:
        return NOT_FIT
    import uuid

    try:
        return uuid.UUID(digits)
    except ValueError:
        return NOT_FIT


def _user_dict(content: dict[Any, Any]) -> object:
    from collections import UserDict

    made: UserDict[Any, Any] = UserDict()
    made.data = content
    return made


def _ordered_dict(content: dict[Any, Any]) -> object:
    from collections import OrderedDict

    return OrderedDict(content)


def _default_dict(content: dict[Any, Any]) -> object:
    from collections import defaultdict

    return defaultdict(None, content)


def _chain_map(content: dict[Any, Any]) -> object:
    from collections import ChainMap

    return ChainMap(content)


def _counter(content: dict[Any, Any]) -> object:
    from collections import Counter

    return Counter(content)


def _same_dict(content: dict[Any, Any]) -> object:
    return content


def _set(elements: Iterable[Any]) -> object:
    return set(elements)


def _array(dtype: object, shape: object, content: object) -> object:
    from erl.values import arrays

    return arrays.array(dtype, shape, content)


def _shared(payload: object) -> object:
    """An array or bytes in shared memory."""
    from erl import shared

    return callout.run(errors.DecodeError, "reading shared memory", shared.decode, payload)


LEAVES: Final[dict[bytes, Builder]] = {
    b"date": _date,
    b"time": _time,
    b"datetime": _datetime,
    b"timedelta": timedelta,
    b"timezone": _timezone,
    b"zoneinfo": _zoneinfo,
    b"Decimal": _decimal,
    b"Fraction": _fraction,
    b"complex": _complex,
    b"UUID": _uuid,
    b"range": _range,
}
"""Forms whose payload is read like any term."""

DICTS: Final[dict[bytes, Builder]] = {
    b"dict": _same_dict,
    b"UserDict": _user_dict,
    b"OrderedDict": _ordered_dict,
    b"defaultdict": _default_dict,
    b"ChainMap": _chain_map,
    b"Counter": _counter,
}
"""Forms whose payload is a list of pairs; their builders get the dict of them."""

SETS: Final[dict[bytes, Builder]] = {b"set": _set, b"frozenset": frozenset}
"""Forms whose payload is a list of hashable values; their builders get them."""

ATOMS: Final[dict[bytes, Builder]] = {b"$py.shm": _shared}
"""The same, headed by an atom."""

BYTES: Final[dict[bytes, Builder]] = {b"bytearray": bytearray}
"""Forms whose payload is a binary and read as bytes."""

ARRAYS: Final[dict[bytes, Callable[[Any, Any, Any], object]]] = {b"ndarray": _array}
"""Forms whose payload is `{First, Second, Binary}`, the binary read as bytes."""
