"""Data frames of pandas and polars as grids, as columns and as Arrow; and grids as data frames."""

from __future__ import annotations

import datetime as dt
import decimal
import zoneinfo
from typing import Any

import pytest
from beams import exact
from both_codecs import CODECS, read, written

from erl import errors
from erl.codec import Options
from erl.haystack import NA, Col, Grid, GridBuilder, Marker, Number, Ref, Timestamp

pytestmark = [
    pytest.mark.usefixtures("key"),
    # pandas warns of its own past on import and of what it will do one day.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

try:
    import numpy as np
    import pandas as pd
except ImportError:
    pd = None
try:
    import polars as pl
except ImportError:
    pl = None
try:
    import pyarrow as pa
except ImportError:
    pa = None

needs_pandas = pytest.mark.skipif(pd is None, reason="pandas is not installed here")
needs_polars = pytest.mark.skipif(pl is None, reason="polars is not installed here")
needs_pyarrow = pytest.mark.skipif(pd is None or pa is None, reason="pyarrow or pandas is not installed here")

GRID = Options.from_flags(3 + 32)
COLUMNS = Options.from_flags(3 + 32 + 64)
ARROW = Options.from_flags(4 + 128)
PARIS = zoneinfo.ZoneInfo("Europe/Paris")
UTC = dt.timezone.utc
NOON = dt.datetime(2024, 7, 1, 12)
FOLD = dt.datetime(2024, 10, 27, 0, 30, tzinfo=UTC)


def column(values: Any, **options: Any) -> list[Any]:
    """What the values of a Series become."""
    return read(written(pd.DataFrame({"a": pd.Series(values, **options)}), GRID), GRID).column("a")


# pandas

CELLS: list[tuple[Any, str | None, list[Any]]] = [
    ([1, -(2**63)], None, [1, -(2**63)]),
    ([0, 2**64 - 1], "uint64", [0, 2**64 - 1]),
    ([2**70, 1], None, [2**70, 1]),
    ([1, 2], "int8", [1, 2]),
    ([1, None], "Int64", [1, None]),
    ([1.5, float("nan")], None, [1.5, float("nan")]),
    ([1.5, None], "Float64", [1.5, None]),
    ([0.5], "float32", [0.5]),
    ([1 + 2j], None, [1 + 2j]),
    ([True, False], None, [True, False]),
    ([True, None], "boolean", [True, None]),
    (["a", None, "é"], None, ["a", None, "é"]),
    (["a", None], "string", ["a", None]),
    (["a", "b", None], "category", ["a", "b", None]),
    ([NOON, None], None, [NOON, None]),
    ([NOON, None], "datetime64[s]", [NOON, None]),
    ([NOON, None], "datetime64[ns]", [NOON, None]),
    ([dt.timedelta(1, 2, 3), None], None, [dt.timedelta(1, 2, 3), None]),
    ([NOON.replace(tzinfo=UTC), None], None, [NOON.replace(tzinfo=UTC), None]),
    ([NOON.replace(tzinfo=PARIS), None], None, [NOON.replace(tzinfo=PARIS), None]),
    ([None, None], "object", [None, None]),
    (["a", 1, None, 1.5, b"x"], "object", ["a", 1, None, 1.5, b"x"]),
    ([dt.date(2024, 1, 1), decimal.Decimal("1.10")], None, [dt.date(2024, 1, 1), decimal.Decimal("1.10")]),
    ([[1, 2], {"k": 1}, (3,)], None, [[1, 2], {"k": 1}, (3,)]),
    ([Ref("a"), Marker(), Number(1, "kW"), NA()], None, [Ref("a"), Marker(), Number(1, "kW"), NA()]),
]


@needs_pandas
@pytest.mark.parametrize(("values", "dtype", "expected"), CELLS, ids=lambda value: repr(value)[:40])
def test_cells_of_a_column_are_plain_values(values: Any, dtype: str | None, expected: list[Any]) -> None:
    options = Options.from_flags(GRID.flags + 4) if b"x" in expected else GRID
    frame = pd.DataFrame({"a": pd.Series(values, dtype=dtype)})
    got = Grid.from_dataframe(frame).column("a")
    assert exact(got) == exact(expected)
    if options is GRID:
        assert exact(column(values, dtype=dtype)) == exact(expected)


@needs_pandas
def test_nanoseconds_are_kept() -> None:
    moments = pd.to_datetime(["2024-07-01 12:00:00.000000001", None])
    count = 1_719_835_200_000_000_001
    assert column(moments) == [Timestamp(count), None]
    assert column(moments.tz_localize("UTC")) == [Timestamp(count, UTC), None]
    assert column(moments.tz_localize("UTC").tz_convert("Europe/Paris")) == [Timestamp(count, PARIS), None]
    assert column(pd.to_timedelta([1, None], unit="ns")) == [Number(1, "ns"), None]


@needs_pandas
def test_years_beyond_a_datetime_are_kept() -> None:
    far = np.array(["20000-01-01", "1970-01-01"], "M8[s]")
    assert column(far)[0] == Timestamp(int(far.view("i8")[0]) * 10**9)


@needs_pandas
def test_second_pass_of_an_hour_is_kept() -> None:
    moments = pd.Series([FOLD, FOLD + dt.timedelta(hours=1)]).dt.tz_convert("Europe/Paris")
    first, second = column(moments)
    assert first.astimezone(UTC) == FOLD
    assert second == Timestamp(int(FOLD.timestamp() + 3600) * 10**9, PARIS)


@needs_pandas
def test_scalars_of_pandas_are_plain_values() -> None:
    values = [
        pd.Timestamp(NOON),
        pd.Timestamp(1, tz="UTC"),
        pd.NaT,
        pd.NA,
        pd.Timestamp(FOLD + dt.timedelta(hours=1)).tz_convert("Europe/Paris"),
    ]
    assert read(written(values, GRID), GRID) == [
        NOON,
        Timestamp(1, UTC),
        None,
        NA(),
        Timestamp(int(FOLD.timestamp() + 3600) * 10**9, PARIS),
    ]


@needs_pandas
@pytest.mark.parametrize(
    "place", [lambda value: [value], lambda value: (1, value), lambda value: {1: [value]}]
)
def test_frame_is_a_grid_at_any_depth(place: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert read(written(place(frame), GRID), GRID) == place(Grid(["a", "b"], [[1, "x"], [2, None]]))


@needs_pandas
def test_frame_without_rows_or_columns_is_a_grid() -> None:
    assert read(written(pd.DataFrame({"a": []}), GRID), GRID) == Grid(["a"])
    assert read(written(pd.DataFrame(), GRID), GRID) == Grid()


@needs_pandas
def test_labels_that_are_no_text_are_kept_in_meta() -> None:
    frame = pd.DataFrame({1: [1], ("x", 2): [2], "a": [3]})
    grid = Grid.from_dataframe(frame)
    assert grid.cols == (Col("1", {"label": 1}), Col("('x', 2)", {"label": ("x", 2)}), Col("a"))
    assert list(grid.to_dataframe().columns) == [1, ("x", 2), "a"]


@needs_pandas
@pytest.mark.parametrize("flags", [GRID.flags, COLUMNS.flags])
def test_two_columns_of_one_name_are_refused(flags: int) -> None:
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    for labels in (["a", "a"], [1, "1"]):
        frame.columns = labels
        with pytest.raises(errors.EncodeError, match="two columns are named"):
            written(frame, Options.from_flags(flags))


@needs_pandas
def test_index_that_says_something_is_a_column() -> None:
    frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    grid = Grid.from_dataframe(frame)
    assert grid == Grid([("index", {"index": Marker()}), "a"], [["x", 1], ["y", 2]])
    frame.index.name = "id"
    assert Grid.from_dataframe(frame).names == ("id", "a")
    pd.testing.assert_frame_equal(Grid.from_dataframe(frame).to_dataframe(), frame)
    several = frame.reset_index().set_index(["id", "a"])
    assert Grid.from_dataframe(several).names == ("id", "a")
    beside = pd.DataFrame({"index": [1, 2]}, index=["x", "y"])  # as `reset_index` has it
    assert Grid.from_dataframe(beside).names == tuple(beside.reset_index().columns) == ("level_0", "index")
    times = pd.DataFrame({"v": [1.5]}, index=pd.DatetimeIndex([NOON]))
    assert Grid.from_dataframe(times).column("index") == [NOON]


@needs_pandas
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("flags", [3 + 32, 3 + 64, 3 + 32 + 128])
def test_series_is_the_list_of_its_values(codec: Any, flags: int) -> None:
    options = Options.from_flags(flags)
    frame = pd.DataFrame({"n": [1, 2], "f": [1.5, 2.5], "s": ["a", "b"], "t": [NOON, NOON]})
    series = [
        frame["n"],
        frame["f"],
        frame["s"],
        frame["t"],
        pd.Series([1, None], dtype="Int64"),
        frame.columns,
        frame.index,
    ]
    values = [[1, 2], [1.5, 2.5], ["a", "b"], [NOON, NOON], [1, None], ["n", "f", "s", "t"], [0, 1]]
    series += [
        pd.DatetimeIndex([NOON]),
        pd.Categorical(["x"]).categories,
        pd.Series([], dtype="float64"),
        frame["f"].rename("x"),
    ]
    values += [[NOON], ["x"], [], [1.5, 2.5]]
    assert exact(codec.decode(bytes(codec.encode(series, options)), options)) == exact(values)


@needs_polars
@pytest.mark.parametrize("codec", CODECS)
def test_series_of_polars_is_the_list_of_its_values(codec: Any) -> None:
    options = GRID
    series = [pl.Series([1, None]), pl.Series("x", ["a"]), pl.Series([NOON])]
    assert exact(codec.decode(bytes(codec.encode(series, options)), options)) == exact(
        [[1, None], ["a"], [NOON]]
    )


@needs_pandas
@pytest.mark.usefixtures("key")
def test_series_of_another_class_and_without_the_option_is_a_pickle() -> None:
    class Mine(pd.Series):  # type: ignore[misc]
        pass

    frame = pd.Series([1])
    for series, flags in ((Mine([1]), 32), (frame, 0), (frame, 128), (frame, 256)):
        term = CODECS[0].encode(series, Options.from_flags(flags))
        assert b"$erlport.opaque" in bytes(term)


@needs_pandas
def test_index_of_places_is_no_column() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]})
    assert Grid.from_dataframe(frame[frame.a > 1]) == Grid(["a"], [[2], [3]])


@needs_pandas
def test_grid_comes_back_from_a_frame() -> None:
    grid = Grid(
        [("id", {"dis": "Id"}), "n", "i", ("kw", {"kind": Marker()}), "s", "t", "z", "b", "m", "o", "na"],
        [
            [
                Ref("a"),
                1.5,
                2**62,
                Number(1, "kW"),
                "x",
                NOON,
                NOON.replace(tzinfo=PARIS),
                True,
                Marker(),
                [1],
                1,
            ],
            [Ref("b", "B"), 2.5, None, Number(2.5, "kW"), None, None, None, None, None, {"k": 1}, NA()],
        ],
        {"dis": "Table"},
    )
    frame = grid.to_dataframe()
    assert [str(dtype) for dtype in frame.dtypes[1:4]] == ["float64", "Int64", "float64"]
    assert frame["kw"].sum() == 3.5
    back = Grid.from_dataframe(frame)
    assert back.column("kw") == [Number(1.0, "kW"), Number(2.5, "kW")]
    assert exact(back) == exact(
        Grid(grid.cols, [[*r.cells[:3], Number(float(r["kw"]), "kW"), *r.cells[4:]] for r in grid], grid.meta)
    )


@needs_pandas
def test_nanoseconds_come_back_from_a_frame() -> None:
    grid = Grid(["t", "u"], [[Timestamp(1), Timestamp(1, PARIS)], [NOON, None]])
    frame = grid.to_dataframe()
    assert frame["t"].dtype.kind == "M"
    assert Grid.from_dataframe(frame).column("t")[0] == Timestamp(1)
    assert Grid.from_dataframe(frame).column("u") == [Timestamp(1, PARIS), None]


@needs_pandas
@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        ([1, 2], "int64"),
        ([1, None], "Int64"),
        ([2**64, 1], "object"),
        ([1.5, None], "float64"),
        ([1, 1.5], "float64"),
        ([2**53 + 1, 1.5], "object"),
        ([True, False], "bool"),
        ([True, None], "boolean"),
        ([True, 1], "object"),
        ([1, NA()], "object"),
        ([None, None], "object"),
        ([Number(1, "kW"), None], "Int64"),
        ([Number(1, "kW"), Number(1, "W")], "object"),
        ([Number(1, "kW"), 1], "object"),
        ([dt.date(2024, 1, 1)], "object"),
        ([[1], [2, 3]], "object"),
        ([], "object"),
    ],
)
def test_column_has_the_type_that_holds_its_cells(cells: list[Any], dtype: str) -> None:
    frame = Grid(["a"], [[cell] for cell in cells]).to_dataframe()
    assert str(frame["a"].dtype) == dtype
    assert len(frame) == len(cells)


@needs_pandas
def test_empty_grids_are_frames() -> None:
    assert Grid().to_dataframe().shape == (0, 0)
    assert Grid(rows=[[], []]).to_dataframe().shape == (2, 0)


@needs_pandas
def test_builder_of_a_frame_takes_meta_and_rows() -> None:
    frame = pd.DataFrame({"a": [1], "b": ["x"]})
    builder = GridBuilder.from_dataframe(frame).set_meta({"dis": "t"}).set_col_meta("a", {"unit": "m"})
    assert builder.to_grid() == Grid([("a", {"unit": "m"}), "b"], [[1, "x"]], {"dis": "t"})
    assert builder.add_row([2, None]).to_grid().column("a") == [1, 2]


@needs_pandas
def test_attributes_of_a_frame_are_meta() -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"dis": "t", 5: 6}
    assert Grid.from_dataframe(frame).meta == {"dis": "t"}


@needs_pandas
def test_frame_is_a_map_of_columns() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    for flags in (COLUMNS.flags, 1 + 64, 1 + 32 + 64):
        assert read(written([frame], Options.from_flags(flags)), GRID) == [{"a": [1, 2], "b": ["x", None]}]


@needs_pandas
def test_frame_is_an_opaque_without_the_options() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    for flags in (0, 3, 256):
        term = written(frame, Options.from_flags(flags))
        assert b"$erlport.opaque" in term
        for codec in CODECS:
            pd.testing.assert_frame_equal(codec.decode(term, GRID), frame)


@needs_pandas
def test_class_of_its_own_is_no_frame() -> None:
    frame = pd.DataFrame({"a": [1]})

    class Frame(pd.DataFrame):
        pass

    assert b"erlport.opaque" not in written(frame, GRID)
    with pytest.raises(TypeError):
        Grid.from_dataframe(Frame({"a": [1]}))


# Arrow


@needs_pyarrow
def test_frame_is_an_arrow_stream() -> None:
    frame = pd.DataFrame({"a": [1, 2], "t": pd.to_datetime([1, 2]), "s": ["x", None]})
    content = read(written([frame], ARROW), ARROW)[0]
    pd.testing.assert_frame_equal(pa.ipc.open_stream(content).read_pandas(), frame)


@needs_pandas
def test_arrow_without_pyarrow_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(errors.EncodeError, match="pyarrow"):
        written(pd.DataFrame({"a": [1]}), ARROW)


# polars


@needs_polars
def test_frame_of_polars_is_a_grid() -> None:
    values = {
        "i": [1, None],
        "f": [1.5, float("nan")],
        "s": ["x", None],
        "b": [True, None],
        "y": [b"\xff", None],
        "d": [dt.date(2024, 1, 1), None],
        "t": [dt.time(1, 2, 3, 4), None],
        "dt": [NOON, None],
        "z": [NOON.replace(tzinfo=PARIS), None],
        "td": [dt.timedelta(1, 2, 3), None],
        "l": [[1, 2], None],
        "st": [{"k": 1}, None],
        "n": [None, None],
    }
    frame = pl.DataFrame(values).with_columns(pl.col("s").cast(pl.Categorical).alias("c"))
    grid = Grid.from_dataframe(frame)
    for name, cells in {**values, "c": ["x", None]}.items():
        assert exact(grid.column(name)) == exact(cells), name
    options = Options.from_flags(GRID.flags)
    got = read(written(frame.drop("y"), options), options)
    assert exact(got.column("z")) == exact(values["z"])


@needs_polars
def test_nanoseconds_of_polars_are_kept() -> None:
    frame = pl.DataFrame({"n": [1, None]}).select(
        pl.col("n").cast(pl.Datetime("ns")).alias("t"),
        pl.col("n").cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone("Europe/Paris").alias("z"),
        pl.col("n").cast(pl.Duration("ns")).alias("d"),
        pl.col("n").cast(pl.Time).alias("c"),
        (pl.col("n") * 1000).cast(pl.Datetime("ns")).alias("u"),
    )
    grid = Grid.from_dataframe(frame)
    assert [grid.column(name)[0] for name in "tzdcu"] == [
        Timestamp(1),
        Timestamp(1, PARIS),
        Number(1, "ns"),
        Number(1, "ns"),
        dt.datetime(1970, 1, 1, microsecond=1),
    ]
    assert [grid.column(name)[1] for name in "tzdcu"] == [None] * 5


@needs_polars
def test_second_pass_of_an_hour_of_polars_is_kept() -> None:
    frame = pl.DataFrame({"t": [FOLD + dt.timedelta(hours=1)]}).select(
        pl.col("t").dt.convert_time_zone("Europe/Paris")
    )
    assert Grid.from_dataframe(frame).column("t") == [Timestamp(int(FOLD.timestamp() + 3600) * 10**9, PARIS)]


@needs_polars
def test_frame_of_polars_is_columns_or_arrow() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert read(written(frame, COLUMNS), GRID) == {"a": [1, 2], "b": ["x", None]}
    content = read(written(frame, ARROW), ARROW)
    assert pl.read_ipc_stream(content).equals(frame)


@needs_pandas
def test_objects_of_pandas_are_in_columns_what_they_are_elsewhere() -> None:
    moment = pd.Timestamp("2024-07-01T12:00:00.000000001")
    objects = [
        pd.NA,
        pd.NaT,
        moment,
        pd.Timestamp(NOON),
        pd.Timedelta(1, "ns"),
        pd.Timedelta(2, "s"),
        FOLD.astimezone(PARIS),
        NOON,
        "x",
    ]
    fold = dt.datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1)
    frame = pd.DataFrame({"a": pd.Series([*objects, fold], dtype=object)})
    expected = [
        NA(),
        None,
        Timestamp(moment.value),
        NOON,
        Number(1, "ns"),
        dt.timedelta(seconds=2),
        FOLD.astimezone(PARIS),
        NOON,
        "x",
        Timestamp(int(fold.timestamp()) * 10**9, PARIS),
    ]
    term = written(frame, Options.from_flags(3 + 64))
    assert b"opaque" not in term
    assert read(term, GRID)["a"] == expected
    assert read(written(frame, GRID), GRID).column("a") == expected


@needs_polars
def test_objects_of_polars_are_refused_as_arrow_with_their_columns_name() -> None:
    frame = pl.DataFrame({"x": [1], "ids": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(errors.EncodeError, match=r"'ids'.*Python objects"):
        written(frame, ARROW)
