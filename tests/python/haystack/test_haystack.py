"""Haystack's kinds, grids and arrays, both ways over both codecs; and that no tuple of a user's is taken for one."""

from __future__ import annotations

import copy
import datetime as dt
import fractions
import json
import math
import operator
import pickle
import statistics
import sys
import zoneinfo
from typing import Any

import pytest
from beams import Beam, exact
from both_codecs import CODECS, read, written
from generated import haystack_values
from hypothesis import given
from hypothesis import strategies as st

from erl import decoders, encoders, errors
from erl.codec import Options, reference
from erl.haystack import NA, Col, Coord, Grid, GridBuilder, Marker, Number, Ref, Remove, Timestamp, Uri
from erl.terms import Atom, Tag

pytestmark = pytest.mark.usefixtures("key")

HAYSTACK = 32
PLAIN = Options.from_flags(16 + HAYSTACK)
DEFAULT = Options.from_flags(0)
RAW = Options.from_flags(4)
WHOLE = Options.from_flags(3 + HAYSTACK)
FLAGS = [HAYSTACK + more for more in range(8)]
PARIS = zoneinfo.ZoneInfo("Europe/Paris")

# Values, and what they are as terms with strings as binaries and dicts as maps, in Erlang's syntax.
VALUES: list[tuple[Any, str]] = [
    (None, "undefined"),
    (Marker(), "{py, marker}"),
    (NA(), "{py, na}"),
    (Remove(), "{py, remove}"),
    (True, "true"),
    (7, "7"),
    (2**200, "1 bsl 200"),
    (1.5, "1.5"),
    (Number(21, "°C"), '{number, 21, <<"°C"/utf8>>}'),
    (Number(-0.0, "kW"), '{number, -0.0, <<"kW">>}'),
    (Number(-(2**99), "kW"), '{number, -(1 bsl 99), <<"kW">>}'),
    (Number(float("nan"), "kW"), '{number, nan, <<"kW">>}'),
    (Number(float("inf"), "kW"), '{number, infinity, <<"kW">>}'),
    (Number(float("-inf"), "kW"), "{number, '-infinity', <<\"kW\">>}"),
    (Ref("p:demo:r:1"), '{ref, <<"p:demo:r:1">>, undefined}'),
    (Ref("a", "Site é"), '{ref, <<"a">>, <<"Site é"/utf8>>}'),
    (Ref("a", ""), '{ref, <<"a">>, <<>>}'),
    (Uri(""), "{uri, <<>>}"),
    (Uri("http://x/é"), '{uri, <<"http://x/é"/utf8>>}'),
    (Coord(90, -180), "{coord, 90.0, -180.0}"),
    (Coord(37.5, 1e-9), "{coord, 37.5, 1.0e-9}"),
    (Timestamp(1_577_836_800_000_000_001), "{timestamp, 1577836800000000001, undefined}"),
    (Timestamp(-1, dt.timezone.utc), '{timestamp, -1, {"timezone", 0}}'),
    (Timestamp(2**80, PARIS), '{timestamp, 1 bsl 80, {"zoneinfo", "Europe/Paris"}}'),
    (dt.date(2024, 2, 29), '{"date", {2024, 2, 29}}'),
    (dt.time(23, 59, 59, 999999), '{"time", {23, 59, 59, 999999, undefined}}'),
    (
        dt.datetime(2024, 7, 1, 12, tzinfo=PARIS),
        '{"datetime", {2024, 7, 1, 12, 0, 0, 0, {"zoneinfo", "Europe/Paris"}}}',
    ),
    ([Marker(), [NA()]], "[{py, marker}, [{py, na}]]"),
    (
        {"site": Marker(), "area": Number(5, "m²")},
        '#{<<"site">> => {py, marker}, <<"area">> => {number, 5, <<"m²"/utf8>>}}',
    ),
    (Grid(), "{grid, #{meta => #{}, cols => [], rows => []}}"),
    (Grid(["a"]), '{grid, #{meta => #{}, cols => [#{name => <<"a">>, meta => #{}}], rows => []}}'),
    (Grid(rows=[[], []]), "{grid, #{meta => #{}, cols => [], rows => [[], []]}}"),
    (
        Grid(
            [("id", {"dis": "Id"}), ("v", {"unit": "kW", "kind": Marker()})],
            [[Ref("a"), Number(1, "kW")], {"v": NA()}],
            {"ver": "3.0", "inner": Grid(["x"], [[1]])},
        ),
        """{grid, #{meta => #{<<"ver">> => <<"3.0">>,
                              <<"inner">> => {grid, #{meta => #{}, cols => [#{name => <<"x">>, meta => #{}}],
                                                      rows => [[1]]}}},
                    cols => [#{name => <<"id">>, meta => #{<<"dis">> => <<"Id">>}},
                             #{name => <<"v">>, meta => #{<<"unit">> => <<"kW">>, <<"kind">> => {py, marker}}}],
                    rows => [[{ref, <<"a">>, undefined}, {number, 1, <<"kW">>}], [undefined, {py, na}]]}}""",
    ),
]


def ids(value: Any) -> str | None:
    return repr(value)[:40] if not isinstance(value, str) else None


PLACES = [
    lambda value: value,
    lambda value: [value],
    lambda value: (1, value),
    lambda value: {1: value},
    lambda value: Grid(["a", "b"], [[1, value], [[value], None]], {"m": value}),
]


def comes_back(value: Any, flags: int) -> bool:
    """Whether the str in a container of ours do: under some options they become bytes, or lists."""
    return flags & 5 == 1 or not isinstance(value, dict | list | Grid)


@pytest.mark.parametrize("place", PLACES, ids=["alone", "list", "tuple", "dict", "grid"])
@pytest.mark.parametrize(
    ("value", "flags"),
    [(value, flags) for value, _ in VALUES for flags in FLAGS if comes_back(value, flags)],
    ids=ids,
)
def test_value_comes_back_at_any_depth(value: Any, flags: int, place: Any) -> None:
    options = Options.from_flags(flags)
    assert exact(read(written(place(value), options), options)) == exact(place(value))


@pytest.mark.parametrize(("value", "text"), VALUES, ids=ids)
def test_value_is_the_documented_term(value: Any, text: str, beam: Beam) -> None:
    term = beam.evaluate(f"{text}.")
    assert beam.same(written(value, WHOLE), term)
    assert exact(read(term, WHOLE)) == exact(value)


def test_texts_are_written_as_the_option_says() -> None:
    for options, text in (
        (Options.from_flags(HAYSTACK), list(b"kW")),
        (Options.from_flags(HAYSTACK + 1), "kW"),
    ):
        for value in (Number(1, "kW"), Ref("kW"), Ref("x", "kW"), Uri("kW"), Grid(["kW"])):
            raw = reference.decode(written(value, options), Options.from_flags(0))
            assert repr(text) in repr(raw), raw


def test_meta_of_a_grid_is_a_dict_as_the_option_says(beam: Beam) -> None:
    term = written(Grid(["a"], [], {"m": 1}), Options.from_flags(HAYSTACK))
    shape = (
        '{grid, #{meta => {"dict", [{"m", 1}]}, cols => [#{name => "a", meta => {"dict", []}}], rows => []}}.'
    )
    assert beam.same(term, beam.evaluate(shape))


# What stays a tuple

NOT_FIT = [
    "{py, markers}",
    '{py, <<"marker">>}',
    "{py, 1}",
    '{"py", marker}',
    "{py, marker, 1}",
    "{number, 1, <<>>}",
    "{number, 1, undefined}",
    "{number, 1, 7}",
    '{number, true, <<"kW">>}',
    '{number, undefined, <<"kW">>}',
    '{number, <<"1">>, <<"kW">>}',
    '{number, one, <<"kW">>}',
    "{number, 1}",
    '{number, 1, <<"kW">>, 2}',
    '{"number", 1, <<"kW">>}',
    "{ref, <<>>, undefined}",
    "{ref, a, undefined}",
    '{ref, <<"a">>, 7}',
    '{ref, <<"a">>, none}',
    '{ref, <<"a">>}',
    "{ref, 1, undefined}",
    "{ref, make_ref_is_no_ref, 1}",
    "{uri, 7}",
    "{uri, x}",
    "{uri, [a]}",
    '{uri, <<"a">>, 1}',
    "{coord, 91, 0}",
    "{coord, 0, -180.5}",
    '{coord, <<"1">>, 0}',
    "{coord, nan, 0}",
    "{coord, 0, infinity}",
    "{coord, 1 bsl 2000, 0}",
    "{coord, true, 0}",
    "{coord, 1}",
    "{timestamp, 1.0, undefined}",
    "{timestamp, 1, utc}",
    '{timestamp, 1, {"timezone", 100000}}',
    "{timestamp, true, undefined}",
    "{timestamp, {1, 2, 3}}",
    "{grid, 5}",
    "{grid, #{}}",
    "{grid, #{meta => #{}, cols => []}}",
    "{grid, #{meta => #{}, cols => [], rows => [], more => 1}}",
    '{grid, #{<<"meta">> => #{}, <<"cols">> => [], <<"rows">> => []}}',
    "{grid, #{meta => 5, cols => [], rows => []}}",
    "{grid, #{meta => #{1 => 2}, cols => [], rows => []}}",
    '{grid, #{meta => #{}, cols => [<<"a">>, <<"a">>], rows => []}}',
    '{grid, #{meta => #{}, cols => [<<"a">>, a], rows => []}}',
    "{grid, #{meta => #{}, cols => [<<>>], rows => []}}",
    "{grid, #{meta => #{}, cols => [7], rows => []}}",
    '{grid, #{meta => #{}, cols => [#{name => <<"a">>}], rows => []}}',
    '{grid, #{meta => #{}, cols => [#{name => <<"a">>, meta => 1}], rows => []}}',
    '{grid, #{meta => #{}, cols => [<<"a">>], rows => [[1, 2]]}}',
    '{grid, #{meta => #{}, cols => [<<"a">>], rows => [[]]}}',
    '{grid, #{meta => #{}, cols => [<<"a">>], rows => [{1}]}}',
    '{grid, #{meta => #{}, cols => [<<"a">>], rows => [#{<<"b">> => 1}]}}',
    '{grid, #{meta => #{}, cols => [<<"a">>], rows => [#{1 => 1}]}}',
    '{grid, #{meta => #{}, cols => [<<"a">>], rows => 5}}',
    '{grid, #{meta => #{}, cols => [<<"a">> | b], rows => []}}',
]


@pytest.mark.parametrize("text", NOT_FIT)
@pytest.mark.parametrize("flags", [HAYSTACK, HAYSTACK + 4])
def test_tuple_that_does_not_fit_stays_a_tuple(text: str, flags: int, beam: Beam) -> None:
    term = beam.evaluate(f"{text}.")
    value = read(term, Options.from_flags(flags))
    assert type(value) is tuple
    if "nan" not in text and "infinity" not in text:
        assert exact(value) == exact(reference.decode(term, Options.from_flags(flags & 4)))
    assert type(read(beam.evaluate(f"[[{text}]]."), Options.from_flags(flags))[0][0]) is tuple


@pytest.mark.parametrize(("value", "text"), VALUES, ids=ids)
def test_form_is_a_tuple_of_the_users_without_the_option(value: Any, text: str, beam: Beam) -> None:
    if not text.startswith(("{py", "{number", "{ref", "{uri", "{coord", "{timestamp", "{grid")):
        return
    for flags in (0, 4, 16, 16 + HAYSTACK):
        assert type(read(beam.evaluate(f"{text}."), Options.from_flags(flags))) is tuple


@pytest.mark.parametrize(("value", "text"), VALUES, ids=ids)
def test_value_is_what_it_was_before_without_the_option(value: Any, text: str) -> None:
    """An opaque, for a class that the codec does not know then; and nothing else has changed."""
    if type(value).__module__.startswith("erl.haystack"):
        term = written([value], DEFAULT)
        assert b"$erlport.opaque" in term
        assert exact(read(term, DEFAULT)) == exact([value])


# What a grid accepts


def test_rows_may_be_maps_and_columns_names(beam: Beam) -> None:
    term = beam.evaluate(
        '{grid, #{meta => #{"dis" => 1, tea => 2, <<"x">> => 3}, cols => ["a", <<"b">>, c], rows =>'
        ' [#{<<"a">> => 1}, #{c => 3, "b" => 2}, [4, 5, 6], {"dict", [{"a", 7}]}, #{}]}}.'
    )
    grid = read(term, Options.from_flags(HAYSTACK))
    assert grid.names == ("a", "b", "c")
    assert [type(col.name) for col in grid.cols] == [str, str, Atom]
    assert [list(row.cells) for row in grid] == [
        [1, None, None],
        [None, 2, 3],
        [4, 5, 6],
        [7, None, None],
        [None, None, None],
    ]
    assert grid.meta == {"dis": 1, "tea": 2, "x": 3}
    as_bytes = read(term, Options.from_flags(HAYSTACK + 4))
    assert as_bytes.names == ("a", "b", "c")
    assert as_bytes.meta == grid.meta


def test_row_of_two_cells_is_no_form() -> None:
    """Were rows tuples, these would be a marker and a date."""
    grid = Grid(["a", "b"], [[Atom("py"), Atom("marker")], [Tag("date"), (2024, 1, 1)]])
    back = read(written(grid, WHOLE), WHOLE)
    assert back.column("a") == ["py", list(b"date")]
    assert back.column("b") == ["marker", (2024, 1, 1)]


def test_names_of_columns_that_head_forms_are_names() -> None:
    names = ["date", "dict", "set", "bytearray", "ndarray", "bytes", "UUID", "meta"]
    grid = Grid([(name, {"x": 1}) for name in names], [list(range(len(names)))])
    for flags in (HAYSTACK, HAYSTACK + 1, HAYSTACK + 3):
        options = Options.from_flags(flags)
        assert exact(read(written(grid, options), options)) == exact(grid)


# Registered functions come first


@pytest.mark.usefixtures("registered")
def test_registered_decoder_hides_a_form(beam: Beam) -> None:
    term = beam.evaluate('[{py, marker}, {uri, <<"a">>}].')
    options = Options.from_flags(HAYSTACK)
    assert read(term, options) == [Marker(), Uri("a")]
    decoders.register(Atom("py"), lambda payload: ["mine", payload])
    decoders.register("ndarray", lambda payload: "array")
    assert read(term, options) == [["mine", "marker"], Uri("a")]
    assert read(beam.evaluate('{"ndarray", {"<f8", {0}, <<>>}}.'), options) == "array"
    decoders.unregister(Atom("py"))
    assert read(term, options)[0] is Marker()


@pytest.mark.usefixtures("registered")
def test_registered_encoder_comes_before_a_form() -> None:
    encoders.register(Ref, lambda ref: ref.id)
    assert read(written([Ref("a"), Marker()], WHOLE), WHOLE) == ["a", Marker()]


# The classes

EQUAL = [Marker(), NA(), Remove(), Number(1, "kW"), Ref("a"), Uri("a"), Coord(1, 2), Timestamp(5, PARIS)]


@pytest.mark.parametrize("value", EQUAL, ids=repr)
def test_value_is_equal_to_its_copies(value: Any) -> None:
    for other in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert other == value
        assert hash(other) == hash(value)
        assert type(other) is type(value)
        assert repr(other) == repr(value)


@pytest.mark.parametrize("value", EQUAL, ids=repr)
def test_value_says_how_to_make_it(value: Any) -> None:
    if type(value) is not Timestamp:
        assert eval(repr(value)) == value


def test_values_of_different_kinds_are_different() -> None:
    assert len(set(EQUAL)) == len(EQUAL)
    assert Marker() != NA()
    assert Number(1, "kW") != Number(1, "W")
    assert Number(1, "kW") == Number(1.0, "kW")
    assert Ref("a") != "a"
    assert Coord(1, 2) != (1, 2)


def test_singletons_are_one_object_each() -> None:
    for kind in (Marker, NA, Remove):
        assert kind() is kind() is pickle.loads(pickle.dumps(kind())) is copy.deepcopy(kind())


def test_reference_is_compared_by_its_id() -> None:
    assert Ref("a", "x") == Ref("a", "y")
    assert hash(Ref("a", "x")) == hash(Ref("a"))
    assert str(Ref("a", "x")) == "a"


@pytest.mark.parametrize("value", EQUAL, ids=repr)
def test_value_does_not_change(value: Any) -> None:
    for name in ("value", "id", "new"):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)
    with pytest.raises(AttributeError):
        del value.unit


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Number("1", "kW"), TypeError),
        (lambda: Number(True, "kW"), TypeError),
        (lambda: Number(1j, "kW"), TypeError),
        (lambda: Number(1, ""), ValueError),
        (lambda: Number(1, None), TypeError),  # type: ignore[arg-type]
        (lambda: Ref(""), ValueError),
        (lambda: Ref(1), TypeError),  # type: ignore[arg-type]
        (lambda: Ref("a", 1), TypeError),  # type: ignore[arg-type]
        (lambda: Coord(90.1, 0), ValueError),
        (lambda: Coord(0, float("nan")), ValueError),
        (lambda: Timestamp(1.5), TypeError),  # type: ignore[arg-type]
        (lambda: Timestamp(1, "UTC"), TypeError),  # type: ignore[arg-type]
        (lambda: Col(1), TypeError),  # type: ignore[arg-type]
        (lambda: Grid(["a", "a"]), ValueError),
        (lambda: Grid(["a"], [[1, 2]]), ValueError),
        (lambda: Grid(["a"], [{"b": 1}]), ValueError),
        (lambda: Grid(meta={1: 2}), TypeError),
        (lambda: Grid(meta=[1]), TypeError),  # type: ignore[arg-type]
        (lambda: GridBuilder().add_col("a").add_col("a"), ValueError),
        (lambda: GridBuilder().add_col("a").add_row([1]).add_col("b"), ValueError),
        (lambda: GridBuilder().set_col_meta("a", {}), KeyError),
        (lambda: Grid.from_dataframe([1]), TypeError),
    ],
)
def test_what_is_no_value_is_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_number_has_the_value_that_it_was_given() -> None:
    class Whole(int):
        pass

    assert type(Number(Whole(3), "m").value) is int
    assert float(Number(3, "m")) == 3.0
    assert int(Number(3.7, "m")) == 3


COMPUTED: list[tuple[Any, Any]] = [
    (lambda x: x * 2, 42),
    (lambda x: 2 * x, 42),
    (lambda x: x + x, 42),
    (lambda x: x - 0.5, 20.5),
    (lambda x: x / 2, 10.5),
    (lambda x: x // 2, 10),
    (lambda x: 43 % x, 1),
    (lambda x: divmod(x, 4), (5, 1)),
    (lambda x: x**2, 441),
    (lambda x: -x, -21),
    (lambda x: +x, 21),
    (lambda x: abs(x), 21),
    (lambda x: round(x), 21),
    (lambda x: x & 16, 16),
    (lambda x: int(x), 21),
    (lambda x: float(x), 21.0),
    (lambda x: sum([x, x]), 42),
    (lambda x: math.sqrt(x - 5), 4.0),
    (lambda x: "abcdefghijklmnopqrstuvwxyz"[x], "v"),
    (lambda x: statistics.mean([x, x + 2]), 22),
    (lambda x: statistics.mean([x, Number(2.5, "kW")]), 11.75),
    (lambda x: statistics.fmean([x, x]), 21.0),
    (lambda x: fractions.Fraction(x) / 2, fractions.Fraction(21, 2)),
    (lambda x: json.dumps([x]), "[21]"),
    (lambda x: f"{x} {x:>4} {x:.1f} {x!s}", "21   21 21.0 21"),
]


@pytest.mark.parametrize(("compute", "result"), COMPUTED)
def test_number_computes_and_what_is_computed_is_plain(compute: Any, result: Any) -> None:
    computed = compute(Number(21, "kW"))
    assert computed == result
    assert type(computed) is type(result)


def test_number_of_either_type_is_one() -> None:
    assert isinstance(Number(21, "kW"), int)
    assert isinstance(Number(2.5, "kW"), float)
    assert all(isinstance(number, Number) for number in (Number(21, "kW"), Number(2.5, "kW")))
    assert type(Number(2.5, "kW") * 2) is float
    assert [str(Number(2.5, "kW")), repr(Number(2.5, "kW"))] == ["2.5", "Number(2.5, 'kW')"]


def test_number_that_nothing_is_computed_of_keeps_its_unit() -> None:
    low, high = Number(2.5, "kW"), Number(21, "kW")
    assert (max(low, high), min(high, low), sorted([high, low])[1]) == (high, low, high)
    assert max(low, high) is high
    assert [number.unit for number in sorted([high, low])] == ["kW", "kW"]


KW21 = Number(21, "kW")
COMPARED: list[tuple[Any, Any, Any, bool]] = [
    (operator.eq, KW21, 21, True),
    (operator.eq, 21, KW21, True),
    (operator.eq, KW21, 21.0, True),
    (operator.ne, KW21, 21, False),
    (operator.ne, 21.0, KW21, False),
    (operator.eq, KW21, Number(21.0, "kW"), True),
    (operator.ne, KW21, Number(21.0, "kW"), False),
    (operator.eq, KW21, Number(21, "W"), False),
    (operator.ne, KW21, Number(21, "W"), True),
    (operator.eq, KW21, "21", False),
    (operator.ne, KW21, None, True),
    (operator.eq, KW21, [21], False),
    (operator.lt, KW21, 30, True),
    (operator.le, 22, KW21, False),
    (operator.gt, KW21, Number(2.5, "m"), True),
    (operator.ge, Number(2.5, "m"), KW21, False),
    (operator.eq, Number(float("nan"), "kW"), Number(float("nan"), "kW"), False),
]


@pytest.mark.parametrize(("compare", "left", "right", "result"), COMPARED)
def test_number_is_compared_as_a_number_and_by_unit_where_both_have_one(
    compare: Any, left: Any, right: Any, result: bool
) -> None:
    assert compare(left, right) is result


def test_number_is_found_where_its_value_is() -> None:
    assert {21: "here"}[KW21] == "here"
    assert hash(KW21) == hash(21) == hash(Number(21.0, "kW"))
    assert len({Number(1, "kW"), Number(1, "W"), Number(1.0, "kW")}) == 2


def test_number_computes_in_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    whole, real = Number(21, "kW"), Number(2.5, "kW")
    assert numpy.mean([whole, real]) == 11.75
    assert numpy.array([whole, whole]).dtype == numpy.dtype("int64")
    assert numpy.array([whole, real]).dtype == numpy.dtype("float64")
    assert (numpy.array([1.0, 2.0]) * whole).tolist() == [21.0, 42.0]
    assert numpy.max([whole, real]) == 21
    assert numpy.sqrt(Number(4, "m")) == 2.0
    assert [Number(numpy.float64(2.5), "kW"), Number(numpy.int8(21), "kW")] == [real, whole]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "number", [KW21, Number(2.5, "kW"), Number(-(2**80), "m"), Number(-0.0, "m")], ids=repr
)
def test_number_goes_to_erlang_with_its_unit_and_what_is_computed_without(codec: Any, number: Number) -> None:
    options = Options.from_flags(HAYSTACK)
    back = codec.decode(bytes(codec.encode({"n": [number]}, options)), options)["n"][0]
    assert (type(back), back.value, back.unit) == (type(number), number.value, number.unit)
    plain = codec.decode(bytes(codec.encode([number * 1, number + 0], options)), options)
    assert plain == [number.value, number.value]
    assert {type(each) for each in plain} == {type(number.value)}


def test_timestamp_has_a_datetime() -> None:
    assert Timestamp(1_500).to_datetime() == dt.datetime(1970, 1, 1, microsecond=1)
    assert Timestamp(-1).to_datetime() == dt.datetime(1969, 12, 31, 23, 59, 59, 999999)
    moment = Timestamp(1_720_000_000 * 10**9, PARIS).to_datetime()
    assert (moment.utcoffset(), moment.timestamp()) == (dt.timedelta(hours=2), 1_720_000_000)


def test_grid_is_read_by_row_by_column_and_by_cell() -> None:
    grid = Grid(["a", ("b", {"x": 1})], [[1, 2], {"b": 4}], {"dis": "t"})
    assert (len(grid), grid.names, grid.meta["dis"]) == (2, ("a", "b"), "t")
    assert grid.cols == (Col("a"), Col("b", {"x": 1}))
    assert grid.col("b").meta == {"x": 1}
    assert grid.column("b") == [2, 4]
    assert grid[1]["b"] == 4
    assert grid[-1] == {"a": None, "b": 4}
    assert (
        [dict(row) for row in grid]
        == [dict(row) for row in grid.rows]
        == [{"a": 1, "b": 2}, {"a": None, "b": 4}]
    )
    assert "a" in grid
    assert "c" not in grid
    assert repr(grid) == "<Grid of 2 rows: a, b>"
    assert pickle.loads(pickle.dumps(grid)) == grid == copy.deepcopy(grid)
    assert grid != Grid(["a", "b"], [[1, 2], [None, 4]])
    with pytest.raises(TypeError):
        grid.meta["dis"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        grid.cols = ()
    with pytest.raises(TypeError):
        hash(grid)


def test_row_of_a_grid_goes_out_as_a_dict() -> None:
    grid = Grid(["a", "b"], [[1, Marker()]])
    assert read(written(grid[0], WHOLE), WHOLE) == {"a": 1, "b": Marker()}


def test_builder_makes_a_grid_step_by_step() -> None:
    builder = GridBuilder().set_meta({"dis": "t"}).add_col("a", {"x": 1}).add_col_names(["b", "c"])
    builder.add_row([1, 2, 3]).add_row({"c": 6}).set_col_meta("b", {"y": 2})
    grid = builder.to_grid()
    assert grid == Grid([("a", {"x": 1}), ("b", {"y": 2}), "c"], [[1, 2, 3], [None, None, 6]], {"dis": "t"})
    builder.add_row([7, 8, 9])
    assert len(grid) == 2


# Properties


@given(haystack_values, st.sampled_from([HAYSTACK + 1, HAYSTACK + 3]))
def test_value_comes_back_from_erlang_the_same(beam: Beam, value: Any, flags: int) -> None:
    options = Options.from_flags(flags)
    try:
        terms = [codec.encode(value, options) for codec in CODECS]
    except errors.EncodeError as refusal:
        assert "same term" in str(refusal)  # noqa: PT017 (a text and the Uri of it are one key)
        return
    for term in terms:
        assert exact(read(term, options)) == exact(value)
        assert exact(read(beam.echo(term), options)) == exact(value)


@given(haystack_values)
def test_value_goes_through_a_pickle(value: Any) -> None:
    assert exact(pickle.loads(pickle.dumps(value))) == exact(value)


def test_plain_mapping_knows_no_form() -> None:
    assert type(read(b"\x83h\2w\2pyw\6marker", PLAIN)) is tuple
    assert b"opaque" in written(Marker(), PLAIN)


def test_atoms_of_floats_are_floats_among_haystacks_numbers(beam: Beam) -> None:
    term = beam.evaluate("[nan, infinity, '-infinity', nano, #{nan => {nan, infinity}}].")
    for spelled in (term, beam.echo(term, "0"), beam.echo(term, "2")):
        value = read(spelled, WHOLE)
        assert list(map(type, value)) == [float, float, float, Atom, dict]
        assert repr(value[4]) == "{nan: (nan, inf)}"
        assert beam.same(written(value, WHOLE), term)
        assert list(map(type, read(spelled, DEFAULT)))[:4] == [Atom] * 4


def test_array_without_numpy_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, beam: Beam) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    for text in ('{"ndarray", {"<f8", {1}, <<0:64>>}}', "{matrix, 1, 1, <<0:64>>}"):
        for codec in CODECS:
            with pytest.raises(errors.DecodeError, match="needs numpy"):
                codec.decode(beam.evaluate(f"{text}."), WHOLE)
