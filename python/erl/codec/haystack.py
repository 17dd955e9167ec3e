"""The forms of a call with `haystack => true`, both ways: Haystack's kinds, grids, frames and arrays.

Like `forms`, a builder returns `NOT_FIT` for a payload that is none of its kind, and the tuple stays one. Like
`standard`, a simplifier returns what is encoded in the value's place. Loaded by the first call that needs it.
"""

from __future__ import annotations

import sys

from erl import errors, terms
from erl.codec import forms, standard
from erl.codec.options import ARRAYS_VALUE, FRAMES_ARROW, FRAMES_COLUMNS, HAYSTACK, MATRICES
from erl.haystack import frames, grid, values
from erl.terms import Atom
from erl.values import arrays, callout
from erl.values.payloads import NOT_FIT, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_SINGLETONS: Final = {"marker": values.Marker(), "na": values.NA(), "remove": values.Remove()}
_GRID_KEYS: Final = {"meta", "cols", "rows"}
_MAX_LATITUDE: Final = 90
_MAX_LONGITUDE: Final = 180
_LIST: Final = frozenset((list,))


# In


def _singleton(payload: object) -> object:
    """`{py, Name}`."""
    return _SINGLETONS.get(payload, NOT_FIT) if type(payload) is Atom else NOT_FIT


def _uri(payload: object) -> object:
    """`{uri, Text}`."""
    found = text(payload)
    return NOT_FIT if found is None else values.Uri(found)


def _number(value: object, unit: object) -> object:
    """`{number, Value, Unit}`."""
    found = text(unit)
    if not found or not (type(value) is int or type(value) is float):
        return NOT_FIT
    return values.Number(value, found)


def _ref(id_: object, dis: object) -> object:
    """`{ref, Id, Dis}`."""
    found, shown = text(id_), None if dis is None else text(dis)
    if not found or (shown is None and dis is not None):
        return NOT_FIT
    return values.Ref(found, shown)


def _coord(lat: object, lng: object) -> object:
    """`{coord, Lat, Lng}`."""
    for degrees, most in ((lat, _MAX_LATITUDE), (lng, _MAX_LONGITUDE)):
        if not (type(degrees) is float or type(degrees) is int) or not abs(degrees) <= most:  # nor is it NaN
            return NOT_FIT
    return values.Coord(lat, lng)  # type: ignore[arg-type]


def _timestamp(nanoseconds: object, zone: object) -> object:
    """`{timestamp, Nanoseconds, Zone}`."""
    if type(nanoseconds) is not int:
        return NOT_FIT
    tz = forms.zone(zone)
    return NOT_FIT if tz is NOT_FIT else values.Timestamp(nanoseconds, tz)


def _grid(payload: object) -> object:
    """`{grid, #{meta => Meta, cols => Cols, rows => Rows}}`."""
    content = _keyed(payload, _GRID_KEYS)
    if content is None:
        return NOT_FIT
    meta, rows = _meta(content["meta"]), content["rows"]
    cols = list(map(_col, content["cols"])) if type(content["cols"]) is list else [None]
    if meta is None or None in cols or type(rows) is not list:
        return NOT_FIT
    try:
        if not _LIST.issuperset(map(type, rows)) or not {len(cols)}.issuperset(map(len, rows)):
            if not frozenset((list, dict)).issuperset(map(type, rows)):
                return NOT_FIT
            rows = [_meta(row) if type(row) is dict else row for row in rows]
            if None in rows:
                return NOT_FIT
            places = {col.name: place for place, col in enumerate(cols)}  # type: ignore[union-attr]
            rows = [grid.cells_of(places, row) for row in rows]
        return grid.made(tuple(cols), meta, rows=rows)  # type: ignore[arg-type]
    except ValueError:
        return NOT_FIT


def _col(term: object) -> grid.Col | None:
    """`#{name => Name, meta => Meta}`, or the name alone."""
    content = _keyed(term, {"name", "meta"})
    name, meta = (term, {}) if content is None else (content["name"], _meta(content["meta"]))
    found = _name(name)
    return None if not found or meta is None else grid.Col(found, meta)


def _keyed(term: object, keys: set[str]) -> dict[str, Any] | None:
    """A dict with exactly these atoms for keys."""
    if type(term) is dict and term.keys() == keys and {Atom}.issuperset(map(type, term)):
        return term
    return None


def _meta(term: object) -> dict[str, Any] | None:
    """A dict whose keys are text; None for any other term."""
    if type(term) is not dict:
        return None
    if {str, Atom}.issuperset(map(type, term)):
        return term
    names = list(map(_name, term))
    if None in names or len(set(names)) != len(names):
        return None
    return dict(zip(names, term.values(), strict=True))  # type: ignore[arg-type]


def _name(term: object) -> str | None:
    """A name: text or an atom, which stays one."""
    return term if type(term) is Atom else text(term)


LEAVES: Final[dict[bytes, Callable[[Any], object]]] = {b"py": _singleton, b"uri": _uri, b"grid": _grid}
"""`{Atom, Payload}`, the payload read like any term."""

TRIPLES: Final[dict[bytes, Callable[[Any, Any], object]]] = {
    b"number": _number,
    b"ref": _ref,
    b"coord": _coord,
    b"timestamp": _timestamp,
}
"""`{Atom, First, Second}`."""


# Out


def of_type(kind: type, flags: int) -> Callable[[Any], object] | None:
    """The simplifier for exactly this type under these flags (see `options.FORMS`), or None."""
    if kind in _SIMPLIFIERS and (flags & HAYSTACK or (flags & FRAMES_COLUMNS and kind in _OF_COLUMNS)):
        return _SIMPLIFIERS[kind]
    if frames.library_of(kind) is not None:
        if flags & FRAMES_COLUMNS:
            return _guarded("taking a DataFrame apart", lambda frame: terms.Map(frames.columns(frame)))
        if flags & FRAMES_ARROW:
            return _guarded("writing a DataFrame as Arrow", frames.arrow)
        return _guarded("making a grid of a DataFrame", _of_frame) if flags & HAYSTACK else None
    if flags & (HAYSTACK | FRAMES_COLUMNS) and frames.is_series(kind):
        return _guarded("taking the values of a Series", frames.series_values)
    if kind is getattr(sys.modules.get("numpy"), "ndarray", None):
        return _guarded("writing an array", lambda array: _of_array(array, flags))
    pandas: Any = sys.modules.get("pandas") if flags & HAYSTACK else None
    if pandas is not None:
        if kind is getattr(pandas, "Timestamp", None):
            return _of_pandas_timestamp
        if kind is type(getattr(pandas, "NaT", None)):
            return lambda value: None
        if kind is type(getattr(pandas, "NA", None)):
            return lambda value: _of_singleton(_SINGLETONS["na"])
    return None


def _guarded(what: str, simplifier: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda value: callout.run(errors.EncodeError, what, simplifier, value)


def _of_singleton(value: Any) -> object:
    return Atom("py"), Atom(type(value).__name__.lower())


def _of_grid(value: Any) -> object:
    cols = [terms.Map({_NAME: col.name, _META: dict(col.meta)}) for col in value.cols]
    return Atom("grid"), terms.Map({_META: dict(value.meta), _COLS: cols, _ROWS: grid.by_row(value)})


def _of_frame(value: Any) -> object:
    return _of_grid(grid.Grid.from_dataframe(value))


def _of_array(value: Any, flags: int) -> object:
    made = arrays.matrix_form(value) if flags & MATRICES else None
    if made is None and flags & (HAYSTACK | ARRAYS_VALUE):
        made = arrays.form(value)
    return standard.NO_FORM if made is None else made


def _of_timestamp(value: Any) -> object:
    zone = standard.zone(value.tzinfo)
    if zone is standard.NO_FORM:
        return zone
    return Atom("timestamp"), value.nanoseconds, zone


def _of_pandas_timestamp(value: Any) -> object:
    zone = frames.standard_zone(value.tzinfo)
    if zone is not value.tzinfo:
        value = value.tz_convert(zone)
    if not value.nanosecond and not value.fold:
        return standard.datetime(value)
    try:
        nanoseconds = value.as_unit("ns").value
    except (ValueError, OverflowError):
        return standard.NO_FORM
    return _of_timestamp(values.Timestamp(nanoseconds, value.tzinfo))


_META: Final = Atom("meta")
_COLS: Final = Atom("cols")
_ROWS: Final = Atom("rows")
_NAME: Final = Atom("name")

_SIMPLIFIERS: Final[dict[type, Callable[[Any], object]]] = {
    values.Marker: _of_singleton,
    values.NA: _of_singleton,
    values.Remove: _of_singleton,
    **dict.fromkeys(values.NUMBERS, lambda value: (Atom("number"), value.value, value.unit)),
    values.Ref: lambda value: (Atom("ref"), value.id, value.dis),
    values.Uri: lambda value: (Atom("uri"), str(value)),
    values.Coord: lambda value: (Atom("coord"), value.lat, value.lng),
    values.Timestamp: _of_timestamp,
    grid.Grid: _of_grid,
    grid.Row: dict,
}

_OF_COLUMNS: Final = frozenset((values.NA, values.Timestamp, *values.NUMBERS))
"""What there can be in a column and has no form otherwise."""
