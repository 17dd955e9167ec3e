"""Tagged forms on their way out: values of the standard library, and numpy's scalars, as simpler values.

A simplifier returns what is encoded in the value's place, or `NO_FORM` where the form would lose something:
a named time zone, a fold. The codec pickles the value then. Nothing is imported here: a value of a type can
only be there if its module was imported.
"""

from __future__ import annotations

import sys

from erl import errors
from erl.terms import Tag
from erl.values import callout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    Simplifier = Callable[[Any], object]

NO_FORM: Final = object()

_MAX_NUMBER_BYTES: Final = 8
_MAX_COMPLEX_BYTES: Final = 16


def of_type(kind: type) -> Simplifier | None:
    """The simplifier for exactly this type, or None."""
    module: Any = kind.__module__  # a class can put anything there
    by_name = _SIMPLIFIERS.get(module) if isinstance(module, str) else None
    if by_name is not None and getattr(sys.modules.get(module), kind.__name__, None) is kind:
        return by_name.get(kind.__name__)
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, getattr(numpy, "generic", ())):
        return _numpy_scalar
    return None


def _date(value: Any) -> object:
    return Tag("date"), (value.year, value.month, value.day)


def _time(value: Any) -> object:
    tz = _zone_of(value)
    if tz is NO_FORM:
        return NO_FORM
    return Tag("time"), (value.hour, value.minute, value.second, value.microsecond, tz)


def datetime(value: Any) -> object:
    """The form of a `datetime`."""
    tz = _zone_of(value)
    if tz is NO_FORM:
        return NO_FORM
    day = (value.year, value.month, value.day)
    return Tag("datetime"), (*day, value.hour, value.minute, value.second, value.microsecond, tz)


def _zone_of(value: Any) -> object:
    """The zone of a time or a datetime as it is written in its form."""
    return NO_FORM if value.fold else zone(value.tzinfo)


def zone(value: Any) -> object:
    """A zone, or none, as it is written in the form of what has it."""
    if value is None:
        return None
    simplifier = of_type(type(value))
    return NO_FORM if simplifier is None else simplifier(value)


def _timedelta(value: Any) -> object:
    return Tag("timedelta"), (value.days, value.seconds, value.microseconds)


def _timezone(value: Any) -> object:
    offset, *name = value.__getinitargs__()
    if name or offset.microseconds:
        return NO_FORM
    return Tag("timezone"), offset.days * 86400 + offset.seconds


def _zoneinfo(value: Any) -> object:
    return (Tag("zoneinfo"), Tag(value.key)) if value.key else NO_FORM


def _decimal(value: Any) -> object:
    return Tag("Decimal"), Tag(value)


def _fraction(value: Any) -> object:
    return Tag("Fraction"), (value.numerator, value.denominator)


def _uuid(value: Any) -> object:
    return Tag("UUID"), Tag(value)


def _shared(value: Any) -> object:
    return value.term()


def _complex(value: Any) -> object:
    return Tag("complex"), (value.real, value.imag)


def _elements(value: Any) -> object:
    return Tag(type(value).__name__), list(value)


def elements_apart(value: Any) -> object:
    """The form of a set where a `str` is written as its bytes are. Raises `EncodeError` for two elements that would be
    one.
    """
    first: dict[Any, Any] = {}
    for element in value:
        other = first.setdefault(_as_bytes(element), element)
        if other is not element:
            both = f"{callout.shown(other)} and {callout.shown(element)}"
            raise errors.EncodeError(f"the elements {both} of a set are the same term")
    return _elements(value)


def _as_bytes(element: Any) -> Any:
    """What is the same for elements that are written the same."""
    kind = type(element)
    if kind is str:
        return element.encode("utf-8", "surrogatepass")
    if kind is tuple or kind is frozenset:
        return kind(map(_as_bytes, element))
    return element


def _bytearray(value: Any) -> object:
    return Tag("bytearray"), bytes(value)


def _pairs(value: Any) -> object:
    return Tag(type(value).__name__), list(value.items())


def _user_dict(value: Any) -> object:
    return Tag("UserDict"), list(value.data.items())


def _numpy_scalar(value: Any) -> object:
    kind, size = value.dtype.kind, value.dtype.itemsize
    if (kind in "biuf" and size <= _MAX_NUMBER_BYTES) or (kind == "c" and size <= _MAX_COMPLEX_BYTES):
        return value.item()
    if kind == "U":
        return str(value)
    return bytes(value) if kind == "S" else NO_FORM


_SIMPLIFIERS: Final[dict[str, dict[str, Simplifier]]] = {
    "builtins": {"bytearray": _bytearray, "complex": _complex, "frozenset": _elements, "set": _elements},
    "collections": {
        "ChainMap": _pairs,
        "Counter": _pairs,
        "OrderedDict": _pairs,
        "UserDict": _user_dict,
        "defaultdict": _pairs,
    },
    "datetime": {
        "date": _date,
        "datetime": datetime,
        "time": _time,
        "timedelta": _timedelta,
        "timezone": _timezone,
    },
    "decimal": {"Decimal": _decimal},
    "erl.shared": {"Shared": _shared},
    "fractions": {"Fraction": _fraction},
    "uuid": {"UUID": _uuid},
    "zoneinfo": {"ZoneInfo": _zoneinfo},
}
