"""What becomes of Python's values, beyond the golden vectors: every option, every depth, and nothing lost
silently.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import math
import threading
import uuid
import zoneinfo
from types import ModuleType
from typing import Any

import pytest
from beams import Beam, exact

from erl import errors
from erl.codec import Options, decode, encode, reference
from erl.terms import Atom, BitString, Fun, ImproperList, OpaqueErlang, Pid, Tag
from erl.values import plain
from erl.values.scope import Scope, current

try:
    from erl.codec import native

    CODECS: list[Any] = [reference, native]
except ImportError:
    CODECS = [reference]

TAGGED_FLAGS = range(8)
DEFAULT = Options.from_flags(0)
BYTES = Options.from_flags(4)
WHOLE = Options.from_flags(3)
PLAIN = Options.from_flags(20)
WORKER = Pid(b"Xw\x0dnonode@nohost" + bytes(12))
PARIS = zoneinfo.ZoneInfo("Europe/Paris")

# Values that come back as they are, whatever the options.
SAME_UNDER_ALL_OPTIONS: list[Any] = [
    None,
    True,
    False,
    0,
    -(2**31) - 1,
    10**400,
    -0.0,
    1e-300,
    [],
    (),
    [[], [[]]],
    (1, (2, [3.5, ()])),
    Atom("an atom"),
    ImproperList([1, []], Atom("t")),
    BitString(b"\xe0", 3),
    OpaqueErlang(b"\x83j"),
    bytearray(b"\x00\xff"),
    {},
    {1: 2, 3: {4: [None]}},
    {"key": 1, "": 2},
    {("a", (1, "b")): [1]},
    {dt.date(2000, 1, 1): dt.timedelta(1)},
    collections.OrderedDict({2: 1, 1: 2}),
    collections.UserDict({1: 2}),
    collections.defaultdict(None, {1: 2}),
    collections.ChainMap({1: 2}),
    collections.Counter({"a": 3, "b": -1}),
    set(),
    {1, "a", ("b", 2)},
    frozenset({frozenset(), frozenset({"x"})}),
    dt.date.min,
    dt.date.max,
    dt.datetime.max,
    dt.time.max,
    dt.timedelta.min,
    dt.timedelta.max,
    dt.timezone.utc,
    dt.timezone(dt.timedelta(hours=-23, minutes=-59, seconds=-1)),
    dt.datetime(2024, 7, 1, 12, tzinfo=PARIS),
    PARIS,
    decimal.Decimal("-0E-30"),
    decimal.Decimal("sNaN123"),
    fractions.Fraction(-7, 3**50),
    complex(-0.0, math.inf),
    uuid.UUID(int=0),
    int,
    math.sqrt,
    range(3),
    ...,
]


@pytest.fixture
def worker(scope: Scope) -> Pid:
    """This interpreter has a worker process, so references can be made."""
    scope.references.set_identity(WORKER, 1)
    return WORKER


def mixes_text_and_bytes(value: Any, flags: int) -> bool:
    """Whether the options write the text in this value as a binary and read binaries as `bytes`."""
    return flags & 5 == 5 and any(text in repr(value) for text in ("'a'", "'key'", "'x'"))


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("value", "flags"),
    [
        pytest.param(value, flags, id=f"{repr(value)[:40]}-{flags}")
        for value in SAME_UNDER_ALL_OPTIONS
        for flags in TAGGED_FLAGS
        if not mixes_text_and_bytes(value, flags)
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        lambda value: value,
        lambda value: [value],
        lambda value: (1, value),
        lambda value: {1: value},
        lambda value: collections.OrderedDict({1: [(value,)]}),
    ],
    ids=["alone", "in a list", "in a tuple", "in a dict", "deep"],
)
def test_value_comes_back_at_any_depth(value: Any, flags: int, place: Any) -> None:
    options = Options.from_flags(flags)
    term = encode(place(value), options)
    assert exact(decode(term, options)) == exact(place(value))


@pytest.mark.parametrize(
    ("flags", "value", "expected"),
    [
        (0, "abc", [97, 98, 99]),
        (1, "abc", "abc"),
        (4, b"abc", b"abc"),
        (0, b"abc", "abc"),
        (5, "abc", b"abc"),
        (2, {"k": "v"}, {"k": [118]}),
        (3, {"k": "v"}, {"k": "v"}),
        (7, {"k": "v"}, {b"k": b"v"}),
    ],
)
def test_strings_and_binaries_follow_the_options(flags: int, value: Any, expected: Any) -> None:
    options = Options.from_flags(flags)
    assert exact(decode(encode(value, options), options)) == exact(expected)


@pytest.mark.parametrize(
    ("flags", "name"), [(0, "undefined"), (2048, "nil"), (4096, "none"), (20, "undefined")]
)
def test_one_atom_is_none_and_the_others_are_atoms(flags: int, name: str) -> None:
    options = Options.from_flags(flags)
    usual = PLAIN if flags == 20 else DEFAULT
    value = [None, True, {1: None}, (None, Atom("x"))]
    term = encode(value, options)
    assert name.encode() in term
    assert exact(decode(term, options)) == exact(decode(encode(value, usual), usual))
    for other in {"undefined", "nil", "none"} - {name}:
        met = decode(encode([Atom(other)], options), options)
        assert met[0] is not None
        assert encode(met, options) == encode([Atom(other)], options)


@pytest.mark.parametrize("written", ["nil", "undefined"])
def test_a_time_without_a_zone_is_one_whatever_atom_none_is(written: str) -> None:
    term = encode((Tag("time"), (1, 2, 3, 4, Atom(written))), DEFAULT)
    assert decode(term, Options.from_flags(2048)) == dt.time(1, 2, 3, 4)


def test_tag_is_a_list_of_code_points_whatever_the_options() -> None:
    for flags in TAGGED_FLAGS:
        assert encode(Tag("ab"), Options.from_flags(flags)) == b"\x83k\0\2ab"


def test_text_of_a_form_stays_a_string_when_strings_are_binaries() -> None:
    assert encode(decimal.Decimal("1.5"), WHOLE) == encode(decimal.Decimal("1.5"), DEFAULT)


def test_lone_surrogate_can_not_be_a_binary() -> None:
    with pytest.raises(errors.EncodeError, match="surrogate"):
        encode("\ud800", WHOLE)


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Pair:
    left: Any
    right: Any


class Mapping(dict[Any, Any]):
    """A subclass of a built-in."""


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("flags", TAGGED_FLAGS)
@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Name("n"),
        Point(1, 2),
        Pair(1, [2]),
        Mapping(a=1),
        dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=PARIS),
        dt.time(1, fold=1),
        dt.timezone(dt.timedelta(hours=1), "CET"),
        dt.timezone(dt.timedelta(microseconds=1)),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")),
        slice(1, 2),
        collections.deque([1, 2]),
        collections.defaultdict,
    ],
    ids=repr,
)
def test_value_that_a_form_would_change_travels_as_a_pickle(value: Any, flags: int) -> None:
    options = Options.from_flags(flags)
    term = encode([value], options)
    assert b"$erlport.opaque" in term
    (back,) = decode(term, options)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


@pytest.mark.usefixtures("worker")
def test_value_bound_to_this_process_travels_as_a_reference() -> None:
    def generator() -> Any:
        yield 1

    with contextlib.closing(io.StringIO("text")) as text:
        values = [
            generator(),
            iter([1]),
            map(str, [1]),
            ModuleType("made"),
            memoryview(b"x"),
            compile("1", "<test>", "eval"),
            text,
            threading.Lock(),
            {}.keys(),
        ]
        for value in values:
            term = encode((1, value), DEFAULT)
            assert b"$py.ref" in term
            back = decode(term, DEFAULT)
            assert back[1] is value


@pytest.mark.usefixtures("worker")
def test_reference_that_was_released_is_stale() -> None:
    term = encode(iter([1]), DEFAULT)
    current().references.release(current().references.take_made())
    with pytest.raises(errors.StaleReferenceError):
        decode(term, DEFAULT)


def test_value_that_nothing_serves_is_an_error_that_names_its_type() -> None:
    """Without a worker process there are no references."""
    with pytest.raises(errors.EncodeError, match="lock"):
        encode([threading.Lock()], DEFAULT)
    with pytest.raises(errors.EncodeError, match="generator"):
        encode((n for n in range(3)), DEFAULT)


class Broken:
    """Its `__reduce__` raises what no pickle raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


class Silent(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise ZeroDivisionError


class Closed:
    """Its state can't be asked for any more."""

    def __getstate__(self) -> Any:
        raise LookupError("closed")


@pytest.mark.usefixtures("worker")
def test_value_that_does_not_pickle_is_a_reference_whatever_that_raises() -> None:
    raised = RuntimeError("out of ink"), KeyError("x"), Silent(), SystemExit(3), GeneratorExit()
    for value in (*map(Broken, raised), Closed()):
        [found] = decode(encode({"a": [value]}, WHOLE), BYTES)[b"a"]
        assert found is value


@pytest.mark.parametrize("error", [errors.CallCancelled(), KeyboardInterrupt()], ids=repr)
def test_interruption_while_a_value_is_pickled_goes_on(error: BaseException) -> None:
    with pytest.raises(type(error)):
        encode({"a": Broken(error)}, DEFAULT)


def test_value_without_memory_for_its_pickle_is_an_error_that_names_its_type() -> None:
    with pytest.raises(errors.EncodeError, match=r"Broken.*MemoryError"):
        encode({"a": Broken(MemoryError())}, DEFAULT)


class Odd(type):
    """A metaclass whose classes can't be hashed."""

    def __eq__(cls, other: object) -> bool:
        return cls is other


def test_value_of_a_class_that_can_not_be_hashed_is_an_error() -> None:
    with pytest.raises(errors.EncodeError, match="unhashable"):
        encode(Odd("Unhashable", (), {})(), DEFAULT)


@pytest.mark.parametrize(
    "value", [{"a": 1, b"a": 2}, {"a": 1, Atom("b"): 2, b"a": 3}, {("a",): 1, (b"a",): 2}]
)
def test_keys_that_are_one_term_in_a_map_are_an_error_that_names_both(value: Any) -> None:
    with pytest.raises(errors.EncodeError, match=r"'a'.* and .*b'a'.* same term"):
        encode(value, WHOLE)


@pytest.mark.parametrize("codec", CODECS)
def test_elements_of_a_set_that_are_one_term_are_an_error_that_names_both(codec: Any) -> None:
    for value in ({"a", b"a"}, frozenset((("a", 1), (b"a", 1))), [{frozenset(("a",)), frozenset((b"a",))}]):
        with pytest.raises(errors.EncodeError, match="same term"):
            codec.encode(value, WHOLE)
        assert codec.decode(bytes(codec.encode(value, DEFAULT)), DEFAULT) == value
    assert codec.decode(bytes(codec.encode({"a", b"b", 1}, WHOLE)), BYTES) == {b"a", b"b", 1}


def test_keys_that_differ_in_a_map_are_no_error() -> None:
    value = {"a": 1, b"b": 2, 1: 3, 1.5: 4, None: 5, Atom("d"): 6, (): 7}
    assert len(decode(encode(value, WHOLE), BYTES)) == len(value)


def test_key_of_a_map_that_was_a_string_is_text_at_any_depth_of_tuples() -> None:
    term = encode({("a", ("b", 1)): "c"}, Options.from_flags(2))
    assert exact(decode(term, DEFAULT)) == exact({("a", ("b", 1)): [99]})


@pytest.mark.parametrize("unhashable", [[Atom("x")], {}, {1: 2}, bytearray(b"x"), {1}, ImproperList([1], 2)])
def test_key_that_can_not_be_hashed_leaves_the_form_a_tuple(unhashable: Any) -> None:
    pairs = [(1, 2), (unhashable, 3)]
    for tag in ("dict", "Counter"):
        assert exact(decode(encode((Tag(tag), pairs), DEFAULT), DEFAULT)) == exact(
            (list(tag.encode()), pairs)
        )
    elements = [1, (unhashable,)]
    assert exact(decode(encode((Tag("set"), elements), DEFAULT), DEFAULT)) == exact((list(b"set"), elements))


def test_pairs_of_a_form_that_does_not_fit_are_read_as_forms_after_all() -> None:
    day = (Tag("date"), (1923, 4, 2))
    other: list[Any] = [
        (Tag("dict"), [(1, 2)]),
        (Tag("set"), [3, "a"]),
        (Tag("bytearray"), b"x"),
        (Atom("bytes"), b"y"),
        (Tag("dict"), [1]),
        (Tag("other"), "a"),
        (Atom("atom"), 1),
    ]
    made = decode(encode((Tag("dict"), [day, *other, "no pair"]), DEFAULT), DEFAULT)
    assert exact(made[1]) == exact(
        [
            dt.date(1923, 4, 2),
            {1: 2},
            {3, "a"},
            bytearray(b"x"),
            b"y",
            (list(b"dict"), [1]),
            (list(b"other"), [97]),
            (Atom("atom"), 1),
            list(b"no pair"),
        ]
    )


ODD_PAYLOADS = [Atom("x"), (), (1,), (1, 2, 3, 4, 5, 6, 7, 8, 9), [Atom("y"), [[]]], 1.5, None, True, {}]
DICT_TAGS = ["dict", "UserDict", "OrderedDict", "defaultdict", "ChainMap", "Counter"]
CLOCK_TAGS = ["date", "time", "datetime", "timedelta", "timezone", "zoneinfo"]
OTHER_TAGS = ["Decimal", "Fraction", "complex", "UUID", "range", "bytearray", "set", "frozenset"]


MIXED: list[Any] = [
    {"a": 1, b"a": 2},
    {b"a": 1, "a": 2},
    {"": 1, b"": 2, "b": 3, 7: "d"},
    {"a": 1, b"a": {"a": 2, b"a": 3}},
    {"ключ": 1, "ключ".encode(): 2},
    collections.OrderedDict([(b"a", 1), ("a", 2)]),
    {"a", b"a", 1},
    {("a", 1): 1, (b"a", 1): 2, "a": 3, b"a": 4},
    {(("a", 1), "a"): 1, ((b"a", 1), b"a"): 2, ((b"a", 1), "a"): 3},
    {("a",), (b"a",)},
    {frozenset(("a", 1)): 1, frozenset((b"a", 1)): 2, "a": 3},
    {
        frozenset((b"a",)),
        frozenset(("a",)),
        frozenset((frozenset((b"a",)),)),
        frozenset((frozenset(("a",)),)),
    },
    frozenset(["", b""]),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("value", MIXED, ids=repr)
def test_keys_that_are_a_text_and_its_bytes_stay_two(codec: Any, value: Any) -> None:
    term = bytes(codec.encode(value, DEFAULT))
    back = codec.decode(term, DEFAULT)
    assert type(back) is type(value)
    assert set(back) == set(value)
    assert len(codec.encode(back, DEFAULT)) == len(term)  # a set has no order


@pytest.mark.parametrize("codec", CODECS)
def test_other_keys_that_are_equal_in_python_are_no_dict(codec: Any, beam: Beam) -> None:
    for text in (
        '{"dict", [{1, a}, {1.0, b}]}.',
        '{"dict", [{{1}, 1}, {{1.0}, 2}]}.',
        '{"dict", [{{"a", 1}, 1}, {{<<"a">>, 1.0}, 2}, {{"a", 1.0}, 3}]}.',
        '{"set", [1, 1.0]}.',
    ):
        assert type(codec.decode(beam.evaluate(text), DEFAULT)) is tuple
    # The same term twice is the last.
    assert codec.decode(beam.evaluate('{"dict", [{"a", 1}, {"a", 2}]}.'), DEFAULT) == {"a": 2}
    assert codec.decode(beam.evaluate('{"dict", [{<<"a">>, 1}, {<<"a">>, 2}]}.'), DEFAULT) == {"a": 2}


ZONES: list[tuple[Any, Any]] = [
    ("Europe/Paris", PARIS),
    ("UTC", dt.timezone.utc),
    ((Tag("zoneinfo"), "Europe/Paris"), PARIS),
    ((Tag("timezone"), 3600), dt.timezone(dt.timedelta(hours=1))),
    (None, None),
]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("written", "zone"), ZONES, ids=repr)
@pytest.mark.parametrize("flags", [0, 4, 3, 32])
def test_zone_of_a_time_may_be_its_name(codec: Any, written: Any, zone: Any, flags: int) -> None:
    encoding, decoding = Options.from_flags(flags & 1), Options.from_flags(flags)
    for tag, payload, value in (
        ("datetime", (2024, 7, 1, 12, 30, 5, 7, written), dt.datetime(2024, 7, 1, 12, 30, 5, 7, zone)),
        ("time", (12, 30, 5, 7, written), dt.time(12, 30, 5, 7, zone)),
    ):
        assert exact(codec.decode(encode((Tag(tag), payload), encoding), decoding)) == exact(value)


MISSPELT = ["Europe/Zurik", "europe", "Zurich", "utc+1", "../../etc/passwd", "a\0b", "x" * 5000, "Юта"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", MISSPELT, ids=lambda name: name[:20])
@pytest.mark.parametrize("tagged", [False, True])
def test_zone_that_is_none_is_an_error_that_names_it(codec: Any, name: str, tagged: bool) -> None:
    zone = (Tag("zoneinfo"), name) if tagged else name
    for tag, payload in (("datetime", (2024, 7, 1, 12, 0, 0, 0, zone)), ("time", (12, 0, 0, 0, zone))):
        for options in (DEFAULT, BYTES, Options.from_flags(1)):
            with pytest.raises(errors.DecodeError, match="there is no time zone") as caught:
                codec.decode(encode((Tag(tag), payload), options), options)
            assert len(str(caught.value)) < 500
            assert name[:2].encode("unicode_escape").decode() in str(caught.value) or name[:2] in str(
                caught.value
            )


def test_zone_that_is_misspelt_is_told_with_the_nearest() -> None:
    for name, nearest in (
        ("Europe/Zurik", "Europe/Zurich"),
        ("europe/paris", "Europe/Paris"),
        ("new_york", "America/New_York"),
    ):
        with pytest.raises(errors.DecodeError, match=f"did you mean '{nearest}'"):
            decode(encode((Tag("time"), (12, 0, 0, 0, name)), DEFAULT), DEFAULT)


@pytest.mark.parametrize("payload", ODD_PAYLOADS, ids=repr)
@pytest.mark.parametrize("tag", DICT_TAGS + CLOCK_TAGS + OTHER_TAGS)
def test_tuple_that_looks_like_a_form_and_does_not_fit_stays_a_tuple(tag: str, payload: Any) -> None:
    made = decode(encode((Tag(tag), payload), BYTES), BYTES)
    assert exact(made) == exact((list(tag.encode()), payload))


@pytest.mark.parametrize(
    ("tag", "payload"),
    [
        ("date", (0, 1, 1)),
        ("date", (10**30, 1, 1)),
        ("date", (True, 1, 1)),
        ("date", (1.0, 1, 1)),
        ("time", (24, 0, 0, 0, None)),
        ("time", (1, 0, 0, 0, Atom("utc"))),
        ("datetime", (2014, 2, 29, 0, 0, 0, 0, None)),
        ("datetime", (2014, 2, 28, 0, 0, 0, 0, 3600)),
        ("timedelta", (10**9, 0, 0)),
        ("timedelta", (10**400, 0, 0)),
        ("timezone", 10**400),
        ("timezone", -86400),
        ("zoneinfo", "../../etc/passwd"),
        ("zoneinfo", "/etc/passwd"),
        ("zoneinfo", ""),
        ("zoneinfo", "Europe"),
        ("zoneinfo", "a\0b"),
        ("Decimal", "1e"),
        ("Decimal", "1e9999999999999999999999"),
        ("complex", (10**400, 0)),
        ("complex", (Atom("many"), 0)),
        ("Fraction", (1, 0)),
        ("UUID", "1234"),
        ("range", (1, 9, 0)),
        ("range", (1, 9)),
    ],
)
def test_form_out_of_range_stays_a_tuple(tag: str, payload: Any) -> None:
    made = decode(encode((Tag(tag), payload), DEFAULT), DEFAULT)
    expected = list(payload.encode()) if isinstance(payload, str) else payload
    assert exact(made) == exact((list(tag.encode()), expected))


@pytest.mark.parametrize("value", [range(7, 42), range(10, 0, -3), range(1, 1), range(10**20, 10**21, 7)])
def test_form_of_a_range_comes_in_as_one(value: range) -> None:
    form = Tag("range"), (value.start, value.stop, value.step)
    assert exact(decode(encode(form, DEFAULT), DEFAULT)) == exact(value)


def test_erlang_map_comes_in_as_a_dict(beam: Beam) -> None:
    term = beam.evaluate('#{a => 1, <<"b">> => #{1 => []}, {c, "d"} => 2, 1.5 => 3}.')
    expected = {Atom("a"): 1, "b": {1: []}, (Atom("c"), "d"): 2, 1.5: 3}
    assert exact(decode(term, DEFAULT)) == exact(expected)


def test_handle_is_equal_to_itself_however_it_was_written(beam: Beam) -> None:
    term = beam.evaluate("self().")
    pid = decode(term, DEFAULT)
    assert type(pid) is Pid
    assert pid == decode(beam.echo(encode(pid, DEFAULT)), DEFAULT)
    assert len({pid, decode(term, DEFAULT)}) == 1
    assert pid != "pid"
    assert pid != Fun(pid.external)


def test_objects_of_erlang_py_are_encoded_too(beam: Beam) -> None:
    erlang = pytest.importorskip("erlang")
    pid = erlang.binary_to_term(beam.evaluate("self()."))
    assert beam.same(encode([pid], DEFAULT), beam.evaluate("[self()]."))
    assert decode(encode(erlang.OtpErlangAtom("a"), DEFAULT), DEFAULT) == "a"
    assert decode(encode(erlang.OtpErlangBinary(b"b"), DEFAULT), DEFAULT) == "b"
    with pytest.raises(errors.EncodeError, match="not a term"):
        encode(erlang.OtpErlangAtom(7), DEFAULT)
    with pytest.raises(errors.EncodeError, match="erlang-py"):
        encode(erlang.OtpErlangList([object()]), DEFAULT)


NUMPY_SCALARS = [
    ("int8", -3, -3),
    ("uint64", 2**64 - 1, 2**64 - 1),
    ("float16", 1.5, 1.5),
    ("float32", 0.5, 0.5),
    ("float64", 0.1, 0.1),
    ("float64", math.nan, Atom("nan")),
    ("bool", True, True),
    ("complex64", 1j, 1j),
    ("complex128", 1j, 1j),
]


@pytest.mark.parametrize(("kind", "value", "expected"), NUMPY_SCALARS)
def test_numpy_scalar_is_a_number(kind: str, value: Any, expected: Any) -> None:
    numpy = pytest.importorskip("numpy")
    scalar = getattr(numpy, kind)(value) if kind != "bool" else numpy.bool_(value)
    assert exact(decode(encode([scalar], DEFAULT), DEFAULT)) == exact([expected])


@pytest.mark.parametrize("flags", range(4))
def test_numpy_text_is_text(flags: int) -> None:
    numpy = pytest.importorskip("numpy")
    options = Options.from_flags(flags)
    for values in (["a", "ключ", ""], [b"a", b"\xff"]):
        scalars = list(numpy.array(values))
        assert encode(scalars, options) == encode(values, options)
        assert encode({scalars[0]: (scalars[1],)}, options) == encode({values[0]: (values[1],)}, options)


@pytest.mark.usefixtures("key")
def test_numpy_value_that_no_number_can_hold_travels_as_a_pickle() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (numpy.longdouble(1) / 3, numpy.datetime64("2024-01-01"), numpy.arange(3)):
        (back,) = decode(encode([value], DEFAULT), DEFAULT)
        assert type(back) is type(value)
        assert repr(back) == repr(value)


def test_plain_mapping_is_erlports(beam: Beam) -> None:
    assert encode(Atom("a"), PLAIN) == b"\x83d\0\1a"
    assert encode(None, PLAIN) == b"\x83d\0\x09undefined"
    assert encode("ab", PLAIN) == b"\x83k\0\2ab"
    assert exact(decode(encode({1: [2]}, PLAIN), PLAIN)) == exact(plain.Map({1: [2]}))
    for value in ({1}, dt.date(2000, 1, 1), decimal.Decimal(1), bytearray(b"x"), 1j):
        term = encode(value, PLAIN)
        assert term.startswith(b"\x83h\3d\0\x0f$erlport.opaqued\0\6pythonm")
        assert term[-1:] == b"."
        assert b"\x80\2" in term
        assert exact(decode(term, PLAIN)) == exact(value)
        assert beam.echo(term)


def test_plain_mapping_reads_no_forms() -> None:
    for value in ((Tag("date"), (1923, 4, 2)), (Tag("timedelta"), 1, 2, 3), (Atom("$py.ref"), WORKER, 1, 1)):
        made = decode(encode(value, PLAIN), PLAIN)
        assert type(made) is tuple
        assert made[1:] == value[1:]
