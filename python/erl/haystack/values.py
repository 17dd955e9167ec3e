"""Haystack's scalars. Immutable, compared and hashed by what they hold; they know neither terms nor grids."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import datetime
    from typing import Any, ClassVar, Final, NoReturn

_MAX_LATITUDE: Final = 90
_MAX_LONGITUDE: Final = 180


class _Value:
    """A value that never changes. Its attributes are its slots, in the order of the constructor's arguments."""

    __slots__: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is immutable: make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is immutable: make another one")

    def _parts(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self):
            return self._parts() == other._parts()
        return NotImplemented

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._parts()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._parts()))})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._parts()


class _Singleton(_Value):
    """A value of which there is one: each call of the class returns it."""

    __slots__ = ()
    _one: ClassVar[_Singleton | None] = None

    def __new__(cls) -> Any:
        if cls._one is None:
            cls._one = super().__new__(cls)
        return cls._one


class Marker(_Singleton):
    """The value of a tag that says "is a", such as `site` or `equip`."""

    __slots__ = ()


class NA(_Singleton):
    """Not available: a value that should be there and is missing or invalid (null is `None`)."""

    __slots__ = ()


class Remove(_Singleton):
    """The value of a tag that is to be removed, in a change of a dict."""

    __slots__ = ()


class Number(_Value):
    """A number with its unit: an `int` or a `float` that has a `unit`. One without a unit is a plain `int` or `float`.

    It computes as a number, and what is computed is a plain one: `Number(21, "kW") * 2` is 42. Untouched, as in a
    list, in `max` or `sorted`, it keeps its unit. It is equal to a number of its value, and to another `Number` of its
    value and unit.

    `value`, the plain number, is made of an `int`, a `float` or a scalar of numpy; `unit` is text that is not empty.
    Raises TypeError and ValueError.
    """

    __slots__ = ()
    unit: str
    if TYPE_CHECKING:

        @property
        def value(self) -> int | float: ...
        def __float__(self) -> float: ...
        def __int__(self) -> int: ...
        def __mul__(self, other: Any) -> Any: ...
        def __add__(self, other: Any) -> Any: ...
        def __lt__(self, other: Any) -> bool: ...

    def __new__(cls, value: Any, unit: str) -> Number:
        if type(value) is not int and type(value) is not float:
            value = _plain_number(value)
        if not isinstance(unit, str):
            raise TypeError(f"a unit is a str, not {unit!r}: a number without one is an int or a float")
        if not unit:
            raise ValueError("a unit is not empty: a number without one is an int or a float")
        made: Number = (
            int.__new__(_WholeNumber, value) if type(value) is int else float.__new__(_RealNumber, value)
        )
        object.__setattr__(made, "unit", unit)
        return made

    def _parts(self) -> tuple[Any, ...]:
        return self.value, self.unit

    def __repr__(self) -> str:
        return f"Number({self.value!r}, {self.unit!r})"

    def __str__(self) -> str:
        return repr(self.value)

    def __reduce__(self) -> tuple[Any, ...]:
        return Number, self._parts()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Number) and other.unit != self.unit:
            return False
        return self.value.__eq__(other)

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return hash(self.value)


class _WholeNumber(Number, int):
    def __new__(cls, value: Any = 0, unit: None = None) -> Any:
        """Where a library makes a number of the type that it was given, as `statistics.mean`: a plain one."""
        return int(value)

    @property
    def value(self) -> int:
        return int.__int__(self)


class _RealNumber(Number, float):
    def __new__(cls, value: Any = 0.0, unit: None = None) -> Any:
        """As that of a whole one."""
        return float(value)

    @property
    def value(self) -> float:
        return float.__float__(self)


for _kind in (_WholeNumber, _RealNumber):
    _kind.__name__ = "Number"

NUMBERS: Final[frozenset[type]] = frozenset((_WholeNumber, _RealNumber))
"""The types that a `Number` has."""


class Ref(_Value):
    """A reference to a record. `id` is what counts in comparisons; `dis` is a name for people, or None."""

    __slots__ = ("dis", "id")
    id: str
    dis: str | None

    def __init__(self, id: str, dis: str | None = None) -> None:  # noqa: A002 (Haystack's name)
        if not all(isinstance(text, str) for text in (id, id if dis is None else dis)):
            raise TypeError("a Ref has an id, a str, and a display name, a str or None")
        if not id:
            raise ValueError("the id of a Ref is not empty")
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "dis", dis)

    def _parts(self) -> tuple[Any, ...]:
        return (self.id,) if self.dis is None else (self.id, self.dis)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if type(other) is Ref else NotImplemented

    def __hash__(self) -> int:
        return hash(("Ref", self.id))

    def __str__(self) -> str:
        return self.id


class Uri(str):
    """A universal resource identifier: a `str` that compares and hashes as its text, and stays a Uri on its way."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Uri({str.__repr__(self)})"


class Coord(_Value):
    """A place on the earth: latitude and longitude in degrees, as floats. Raises ValueError beyond 90 and 180."""

    __slots__ = ("lat", "lng")
    lat: float
    lng: float

    def __init__(self, lat: float, lng: float) -> None:
        lat, lng = float(lat), float(lng)
        if not (abs(lat) <= _MAX_LATITUDE and abs(lng) <= _MAX_LONGITUDE):
            raise ValueError(f"a latitude is -90 to 90 and a longitude -180 to 180, not {lat} and {lng}")
        object.__setattr__(self, "lat", lat)
        object.__setattr__(self, "lng", lng)


class Timestamp(_Value):
    """A DateTime that a `datetime` can't hold: one with nanoseconds, or in the second pass of an hour of a zone.

    `nanoseconds` count from 1970 in UTC. Without a zone (`tzinfo` None) they count as if the clock on the wall were
    UTC's, as numpy and pandas have it.
    """

    __slots__ = ("nanoseconds", "tzinfo")
    nanoseconds: int
    tzinfo: datetime.tzinfo | None

    def __init__(self, nanoseconds: int, tzinfo: datetime.tzinfo | None = None) -> None:
        from datetime import tzinfo as zone_type
        from operator import index

        if not (tzinfo is None or isinstance(tzinfo, zone_type)):
            raise TypeError(f"a zone is a tzinfo or None, not {tzinfo!r}")
        object.__setattr__(self, "nanoseconds", index(nanoseconds))
        object.__setattr__(self, "tzinfo", tzinfo)

    def to_datetime(self) -> datetime.datetime:
        """The `datetime`, its nanoseconds cut to microseconds. Raises OverflowError beyond the years 1 to 9999."""
        from datetime import datetime, timedelta, timezone

        moment = datetime(1970, 1, 1, tzinfo=self.tzinfo and timezone.utc) + timedelta(
            microseconds=self.nanoseconds // 1000
        )
        return moment if self.tzinfo is None else moment.astimezone(self.tzinfo)


def _plain_number(value: Any) -> int | float:
    """An `int` or a `float` equal to a number of another type, such as a scalar of numpy."""
    if not isinstance(value, bool) and not isinstance(value, str):
        if isinstance(value, float):
            return float(value)
        if isinstance(value, int):
            return int(value)
        item = getattr(value, "item", None)
        plain = item() if item is not None else value
        if type(plain) is int or type(plain) is float:
            return plain
    raise TypeError(f"the value of a Number is an int or a float, not {value!r}")
