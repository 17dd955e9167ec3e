"""Data frames as contents, and back: Parquet where pyarrow is, else JSON that says its types (format "table").

    {"format": 1, "columns": [[name, dtype, [value, ...]], ...], "index": null | [dtype, [value, ...]]}

A file that was given is read as its name ends: .parquet, .csv, .tsv, .json, .jsonl, .feather, .xlsx, ...
"""

from __future__ import annotations

import importlib
import json
import math
import sys

from erl import errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_FORMAT: Final = 1
_READERS: Final = {
    "parquet": "read_parquet",
    "csv": "read_csv",
    "tsv": "read_csv",
    "txt": "read_csv",
    "json": "read_json",
    "jsonl": "read_json",
    "ndjson": "read_json",
    "feather": "read_feather",
    "arrow": "read_feather",
    "xlsx": "read_excel",
    "xls": "read_excel",
    "pickle": "",
    "pkl": "",
}
_POLARS: Final = {
    "parquet": "read_parquet",
    "csv": "read_csv",
    "tsv": "read_csv",
    "json": "read_json",
    "jsonl": "read_ndjson",
    "ndjson": "read_ndjson",
    "feather": "read_ipc",
    "arrow": "read_ipc",
    "xlsx": "read_excel",
}


def engine_of(value: object) -> str | None:
    """The library whose data frame it is; None of other values. Nothing is imported for it."""
    if _is_one(value, "pandas", "DataFrame", "Series"):
        return "pandas"
    return "polars" if _is_one(value, "polars", "DataFrame", "LazyFrame") else None


def is_frame(value: object) -> bool:
    """Whether it is a table; a column alone, a Series, is none."""
    return engine_of(value) is not None and not _is_one(value, "pandas", "Series")


def _is_one(value: object, library: str, *kinds: str) -> bool:
    found = [getattr(sys.modules.get(library), kind, None) for kind in kinds]
    return isinstance(value, tuple(kind for kind in found if isinstance(kind, type)))


def format_of(file_name: str) -> str | None:
    """What a file is by its name's end."""
    _, dot, end = file_name.rpartition(".")
    return end.lower() if dot and end.lower() in _READERS else None


def write(frame: Any, content: str) -> str:
    """Write a data frame; the format. Raises `errors.EntityError` for what that can't hold."""
    engine = engine_of(frame)
    if engine == "polars":
        frame = frame.collect() if hasattr(frame, "collect") else frame
        frame.write_parquet(content)
        return "parquet"
    if type(frame).__name__ == "Series":
        frame = frame.to_frame()
    if _has("pyarrow"):
        try:
            frame.to_parquet(content, engine="pyarrow")
        except Exception as error:  # pyarrow's own, of values and names that it has no type for
            raise errors.EntityError(f"the data frame can't be written as Parquet: {error}") from error
        return "parquet"
    _write_table(frame, content)
    return "table"


def _has(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _write_table(frame: Any, content: str) -> None:
    pandas = sys.modules["pandas"]
    index = frame.index
    own = None
    if not (
        isinstance(index, pandas.RangeIndex) and index.start == 0 and index.step == 1 and index.name is None
    ):
        if index.nlevels != 1 or index.name is not None:
            raise errors.EntityError(
                "a data frame with such an index takes pyarrow: install it, or reset_index()"
            )
        own = _column(index.to_series(), "the index")
    columns = []
    for position, name in enumerate(frame.columns):
        if not isinstance(name, str):
            raise errors.EntityError(f"the name of a column is a text, not {name!r:.60}")
        columns.append([name, *_column(frame.iloc[:, position], name)])
    with open(content, "x", encoding="utf-8") as file:
        json.dump({"format": _FORMAT, "columns": columns, "index": own}, file, allow_nan=False)


def _column(series: Any, name: str) -> list[Any]:
    """A column's type and its values. A time is its text, what is missing null."""
    kind = str(series.dtype)
    if series.dtype.kind in "Mm":
        return [kind, _integers(series)]
    values = series.tolist()
    if series.dtype.kind in "iub":
        return [kind, values]
    if series.dtype.kind == "f":
        return [kind, [_number(value) for value in values]]
    if all(value is None or type(value) in (str, int, float, bool) for value in values):
        return [kind, [_number(value) for value in values]]
    raise errors.EntityError(f"the column {name} has values that take pyarrow to be kept: install it")


def _integers(series: Any) -> list[int | None]:
    missing = series.isna().tolist()
    numbers = (
        series.astype("int64") if not any(missing) else series.fillna(series.dropna().min()).astype("int64")
    )
    return [None if gone else int(number) for gone, number in zip(missing, numbers.tolist(), strict=True)]


def _number(value: Any) -> Any:
    if type(value) is float and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _read_table(path: str) -> Any:
    pandas = importlib.import_module("pandas")
    with open(path, encoding="utf-8") as file:
        read = json.load(file)
    if not isinstance(read, dict) or read.get("format") != _FORMAT:
        raise errors.EntityError(f"{path} is another version's")
    columns = [_series(pandas, kind, values) for _, kind, values in read["columns"]]
    index = None if read["index"] is None else pandas.Index(_series(pandas, *read["index"]))
    frame = pandas.DataFrame(dict(enumerate(columns)))
    frame.columns = pandas.Index([name for name, _, _ in read["columns"]])
    if index is not None:
        frame.index = index
    return frame


def _series(pandas: Any, kind: str, values: list[Any]) -> Any:
    if kind.startswith(("datetime64", "timedelta64")):
        return _times(pandas, kind, values)
    found = [float(value["float"]) if isinstance(value, dict) else value for value in values]
    return pandas.Series(found, dtype=kind)


def _times(pandas: Any, kind: str, values: list[Any]) -> Any:
    whole = pandas.Series([0 if value is None else value for value in values], dtype="int64")
    if kind.startswith("datetime64") and "," in kind:
        unit, _, zone = kind[11:-1].partition(", ")
        times = whole.astype(f"datetime64[{unit}]").dt.tz_localize("UTC").dt.tz_convert(zone)
    else:
        times = whole.astype(kind)
    return times.where(pandas.Series([value is not None for value in values], dtype=bool))


def read(path: str, file_format: str | None, engine: str, key: str, keywords: dict[str, Any]) -> Any:
    """The data frame that a content is. Raises `errors.EntityError` where it is none, or what reads it is not here."""
    if engine not in ("pandas", "polars"):
        raise errors.EntityError(f"the engine is pandas or polars, not {engine!r:.60}")
    try:
        if file_format == "table":
            frame = _read_table(path)
            return frame if engine == "pandas" else importlib.import_module("polars").from_pandas(frame)
        readers = _READERS if engine == "pandas" else _POLARS
        if not file_format or not readers.get(file_format):
            raise errors.EntityError(
                f"{key} is not known to be a table: say which, file_format="
                f"{', '.join(sorted(each for each in readers if readers[each]))}"
            )
        library = importlib.import_module(engine)
    except ImportError as error:
        raise errors.EntityError(
            f"{key} is read by {engine}, which is not installed here: {error}"
        ) from error
    if file_format == "tsv":
        keywords = {("sep" if engine == "pandas" else "separator"): "\t", **keywords}
    if file_format in ("jsonl", "ndjson") and engine == "pandas":
        keywords = {"lines": True, **keywords}
    return getattr(library, readers[file_format])(path, **keywords)
