"""Data frames of pandas and polars, taken apart into columns of plain values, and made of grids.

Nothing is imported here that is not there: a frame can only be met where its library was imported. What a `datetime`
or a `timedelta` would cut off is kept: such a column becomes one of `Timestamp`s, or of `Number`s with the unit ns.
"""

from __future__ import annotations

import sys

from erl.haystack.values import NA, NUMBERS, Marker, Number, Timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Final

    Apart = tuple[dict[Any, Any], list[tuple[str, dict[Any, Any]]], list[list[Any]]]

_ATTRIBUTE: Final = "haystack"
_INDEX: Final = "index"
_LABEL: Final = "label"
_NS: Final = "ns"

_NUMBERS_AND_NULL: Final = NUMBERS | {type(None)}

_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_NOT_A_TIME: Final = -(2**63)
_FIRST_DAY: Final = -62_135_510_400 * 10**9
"""The second day of the year 1, in nanoseconds: a zone can move it and it stays a `datetime`."""
_LAST_DAY: Final = 253_402_214_400 * 10**9


def library_of(kind: type) -> str | None:
    """`pandas` or `polars`, where the type is exactly the DataFrame of one."""
    for name in ("pandas", "polars"):
        library = sys.modules.get(name)
        if library is not None and getattr(library, "DataFrame", None) is kind:
            return name
    return None


def is_series(kind: type) -> bool:
    """Whether the type is a Series of pandas or polars, or one of pandas' indexes."""
    pandas: Any = sys.modules.get("pandas")
    if pandas is not None:
        if kind is getattr(pandas, "Series", None):
            return True
        index = getattr(pandas, "Index", None)
        # An index that the user has made of one is the user's.
        if isinstance(index, type) and issubclass(kind, index):
            return kind.__module__.partition(".")[0] == "pandas"
    polars = sys.modules.get("polars")
    return polars is not None and kind is getattr(polars, "Series", None)


def series_values(series: Any) -> list[Any]:
    """The values of a Series or an index, as those of a frame's column."""
    if type(series).__module__.partition(".")[0] == "polars":
        return _polars_values(series)
    if hasattr(series, "to_series"):
        series = series.to_series()
    return _pandas_values(series)


def taken_apart(frame: Any) -> Apart:
    """Meta, names and meta of the columns, and their values. Raises TypeError for what is no frame."""
    library = library_of(type(frame))
    if library is None:
        raise TypeError(f"a DataFrame of pandas or polars is wanted, not a {type(frame).__name__}")
    return _pandas_apart(frame) if library == "pandas" else _polars_apart(frame)


def columns(frame: Any) -> dict[str, list[Any]]:
    """The values of a frame by the names of its columns. Raises ValueError for two columns of one name."""
    _, cols, values = taken_apart(frame)
    named = {name: column for (name, _), column in zip(cols, values, strict=True)}
    if len(named) != len(cols):
        names = [name for name, _ in cols]
        raise ValueError(f"two columns are named {next(name for name in names if names.count(name) > 1)!r}")
    return named


def arrow(frame: Any) -> bytes:
    """The frame as an Arrow IPC stream.

    Raises ImportError where pyarrow is missing (polars needs none), ValueError for a column of polars' that holds
    Python objects.
    """
    if library_of(type(frame)) == "polars":
        from io import BytesIO

        for name, dtype in frame.schema.items():
            if _has_objects(dtype):
                raise ValueError(f"the column {name!r} is one of Python objects, which Arrow has no form for")
        stream = BytesIO()
        frame.write_ipc_stream(stream)
        return stream.getvalue()
    import pyarrow

    table = pyarrow.Table.from_pandas(frame)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _has_objects(dtype: Any) -> bool:
    """Whether there are Python objects in such a column of polars'. It writes their addresses without a word."""
    if dtype == sys.modules["polars"].Object:
        return True
    inner = getattr(dtype, "inner", None)
    fields = getattr(dtype, "fields", None) or ()
    return (inner is not None and _has_objects(inner)) or any(_has_objects(field.dtype) for field in fields)


# pandas


def _pandas_apart(frame: Any) -> Apart:
    attributes = {key: value for key, value in frame.attrs.items() if isinstance(key, str)}
    kept = attributes.pop(_ATTRIBUTE, None) or {}
    meta = {**attributes, **kept.get("meta", {})}
    metas, units = kept.get("cols", {}), kept.get("units", {})
    cols: list[tuple[str, dict[Any, Any]]] = []
    values: list[list[Any]] = []

    def add(label: Any, series: Any, more: dict[str, Any]) -> None:
        name = label if isinstance(label, str) else str(label)
        own = {**metas.get(name, {}), **more}
        if name is not label:
            own[_LABEL] = label
        cols.append((name, own))
        column = _pandas_values(series)
        values.append(_with_unit(column, units[name]) if name in units else column)

    for label, level in _index_levels(frame):
        add(label, level, {_INDEX: Marker()})
    for place, label in enumerate(frame.columns):
        add(label, frame.iloc[:, place], {})
    return meta, cols, values


def _index_levels(frame: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of an index that says something: one with a name, or of something else than integers."""
    index = frame.index
    named = any(name is not None for name in index.names)
    if not named and index.nlevels == 1 and getattr(index.dtype, "kind", "O") in "iu":
        return []
    # As `reset_index` calls them.
    is_free = index.nlevels == 1 and _INDEX not in map(str, frame.columns)
    names = [
        name if name is not None else _INDEX if is_free else f"level_{place}"
        for place, name in enumerate(index.names)
    ]
    return [(name, index.get_level_values(place).to_series()) for place, name in enumerate(names)]


def _with_unit(column: list[Any], unit: str) -> list[Any]:
    """Numbers again, whose unit `pandas_frame` took off; what was missing is null again."""
    return [
        Number(value, unit) if type(value) is int or (type(value) is float and value == value) else None
        for value in column
    ]


def _pandas_values(series: Any) -> list[Any]:
    import numpy

    dtype = series.dtype
    if isinstance(dtype, numpy.dtype):
        if dtype.kind in "mM":
            return _times(series.to_numpy(), None)
        values: list[Any] = series.to_numpy().tolist()
        return _objects(values) if dtype.kind == "O" else values
    zone = getattr(dtype, "tz", None)
    if zone is not None:
        return _times(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), standard_zone(zone))
    missing = series.isna().to_numpy()
    values = series.astype(object).tolist()
    if missing.any():
        for place in numpy.flatnonzero(missing).tolist():
            values[place] = None
    return values


def _objects(values: list[Any]) -> list[Any]:
    """Objects, among which pandas' own are what they would be in a column of their type; its NA is Haystack's."""
    import datetime

    pandas = sys.modules["pandas"]
    ways: dict[type, Callable[[Any], Any]] = {
        type(pandas.NA): lambda value: NA(),
        type(pandas.NaT): lambda value: None,
        pandas.Timestamp: _of_pandas_moment,
        pandas.Timedelta: _of_pandas_duration,
        datetime.datetime: lambda value: (
            _of_fold(value) if value.fold and value.tzinfo is not None else value
        ),
    }
    if ways.keys().isdisjoint(map(type, values)):
        return values
    return [value if (way := ways.get(type(value))) is None else way(value) for value in values]


def _of_pandas_moment(value: Any) -> Any:
    zone = standard_zone(value.tzinfo)
    if zone is not value.tzinfo:
        value = value.tz_convert(zone)
    if not value.nanosecond and not value.fold:
        return value.to_pydatetime()
    try:
        return Timestamp(value.as_unit("ns").value, zone)
    except (ValueError, OverflowError):
        return value


def _of_pandas_duration(value: Any) -> Any:
    return Number(value.as_unit("ns").value, _NS) if value.nanoseconds else value.to_pytimedelta()


def standard_zone(zone: Any) -> Any:
    """The zone as one of the standard library, where it is one of pytz (pandas before 3)."""
    key = getattr(zone, "zone", None)
    if type(zone).__module__.partition(".")[0] != "pytz" or not isinstance(key, str):
        return zone
    import zoneinfo

    return zoneinfo.ZoneInfo(key)


def _times(array: Any, zone: Any) -> list[Any]:
    """The values of an array of datetime64 (in UTC where there is a zone) or timedelta64; NaT is None."""
    import numpy

    unit, step = numpy.datetime_data(array.dtype)
    scale = _NANOSECONDS[unit] * step
    counts = array.view("i8")
    real = counts[counts != _NOT_A_TIME]
    bounds = (int(real.min()) * scale, int(real.max()) * scale) if len(real) else (0, 0)
    inexact = scale % 1000 != 0 and (real * scale % 1000).any()
    if inexact or (array.dtype.kind == "M" and not _FIRST_DAY <= bounds[0] <= bounds[1] <= _LAST_DAY):
        return _nanoseconds(counts.tolist(), scale, array.dtype.kind, zone)
    if zone is not None:
        return _in_zone(array, zone)
    values: list[Any] = array.astype(f"{array.dtype.kind}8[us]").tolist()
    return values


def _nanoseconds(counts: list[int], scale: int, kind: str, zone: Any) -> list[Any]:
    make: Callable[[int], Any] = (
        (lambda count: Timestamp(count * scale, zone))
        if kind == "M"
        else (lambda count: Number(count * scale, _NS))
    )
    return [None if count == _NOT_A_TIME else make(count) for count in counts]


def _in_zone(array: Any, zone: Any) -> list[Any]:
    """Moments of UTC, as the clocks of a zone have them."""
    from datetime import datetime, timezone

    # Adding to a moment in UTC takes a seventh of the time of `replace`.
    after = datetime(1970, 1, 1, tzinfo=timezone.utc).__add__
    values = [
        None if since is None else after(since) for since in array.astype("M8[us]").view("m8[us]").tolist()
    ]
    if zone is timezone.utc:
        return values
    local = [value and value.astimezone(zone) for value in values]
    return [_of_fold(value) if value and value.fold else value for value in local]


def _of_fold(value: Any) -> Timestamp:
    from datetime import datetime, timedelta, timezone

    since = value - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return Timestamp(since // timedelta(microseconds=1) * 1000, value.tzinfo)


# polars


def _polars_apart(frame: Any) -> Apart:
    return {}, [(name, {}) for name in frame.columns], [_polars_values(series) for series in frame]


def _polars_values(series: Any) -> list[Any]:
    polars = sys.modules["polars"]
    dtype = series.dtype
    zone = getattr(dtype, "time_zone", None)
    if zone is None and dtype in (polars.Datetime, polars.Duration) and _has_numpy():
        return _times(series.to_numpy(), None)  # a fifth of the time
    if dtype == polars.Time or getattr(dtype, "time_unit", None) == "ns":
        counts = series.to_physical()
        if (counts % 1000 != 0).any():
            if zone is not None:
                import zoneinfo

                zone = zoneinfo.ZoneInfo(zone)
            make: Callable[[int], Any] = (
                (lambda count: Timestamp(count, zone))
                if dtype == polars.Datetime
                else (lambda count: Number(count, _NS))
            )
            return [None if count is None else make(count) for count in counts.to_list()]
    values: list[Any] = series.to_list()
    if zone is not None:
        values = [value if value is None or not value.fold else _of_fold(value) for value in values]
    return values


def _has_numpy() -> bool:
    try:
        import numpy  # noqa: F401
    except ImportError:
        return False
    return True


# Grids to pandas


def pandas_frame(cols: Sequence[Any], columns: list[list[Any]], meta: dict[Any, Any], size: int) -> Any:
    """A DataFrame of pandas, of a grid's columns, their cells, its meta and how many rows it has.

    Its attribute `attrs["haystack"]` keeps what a frame has no place for: meta, and the unit of a column whose numbers
    all have the same.
    """
    import pandas

    units: dict[str, str] = {}
    labels: list[Any] = []
    found: dict[int, Any] = {}
    for place, (col, values) in enumerate(zip(cols, columns, strict=True)):
        unit = _common_unit(values)
        if unit is not None:
            units[col.name] = unit
            values = [None if value is None else value.value for value in values]
        found[place] = _series(values)
        labels.append(col.meta.get(_LABEL, col.name))
    frame = pandas.DataFrame(found, index=None if found else range(size))
    index = [place for place, col in enumerate(cols) if isinstance(col.meta.get(_INDEX), Marker)]
    if index:
        frame = frame.set_index(index)
        frame.index.names = [labels[place] for place in index]
    frame.columns = pandas.Index(
        [label for place, label in enumerate(labels) if place not in index], dtype=None if labels else object
    )
    kept = {"meta": meta, "cols": _metas(cols), "units": units}
    if any(kept.values()):
        frame.attrs[_ATTRIBUTE] = kept
    return frame


def _metas(cols: Sequence[Any]) -> dict[str, dict[Any, Any]]:
    metas = {}
    for col in cols:
        rest = {key: value for key, value in col.meta.items() if key not in (_INDEX, _LABEL)}
        if rest:
            metas[str(col.name)] = rest
    return metas


def _common_unit(values: list[Any]) -> str | None:
    if not _NUMBERS_AND_NULL.issuperset(map(type, values)):
        return None
    units = {value.unit for value in values if value is not None}
    return units.pop() if len(units) == 1 else None


def _series(values: list[Any]) -> Any:
    """A Series of the type that pandas has for these values; of objects where it would change some of them. (Null among
    floats is NaN.)
    """
    import datetime

    import pandas

    kinds = set(map(type, values))
    null = type(None) in kinds
    kinds.discard(type(None))
    if Timestamp in kinds and kinds <= {Timestamp, datetime.datetime}:
        values = [_pandas_timestamp(value) for value in values]
        kinds = {datetime.datetime}
    elif NA in kinds:
        values = [pandas.NA if type(value) is NA else value for value in values]
    by_kinds = {
        frozenset((int,)): "Int64" if null else "int64",
        frozenset((bool,)): "boolean" if null else "bool",
        frozenset((float,)): "float64",
        frozenset((int, float)): "float64",
        frozenset((str,)): None,
        frozenset((datetime.datetime,)): None,
        frozenset((datetime.timedelta,)): None,
    }
    dtype = by_kinds.get(frozenset(kinds), "object")
    if kinds == {int, float} and any(type(value) is int and abs(value) > 2**53 for value in values):
        dtype = "object"
    try:
        return pandas.Series(values, dtype=dtype)
    except (OverflowError, ValueError, TypeError):
        return pandas.Series(values, dtype="object")


def _pandas_timestamp(value: Any) -> Any:
    import pandas

    if type(value) is Timestamp:
        moment = pandas.Timestamp(value.nanoseconds, unit=_NS, tz=value.tzinfo and "UTC")
        return moment if value.tzinfo is None else moment.tz_convert(value.tzinfo)
    return value
