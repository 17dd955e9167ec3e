"""The compiled codec beside the reference: the same bytes are the same value or refused by both, and what one writes
is what the other writes, or the same term for Erlang."""

from __future__ import annotations

import collections
import contextlib
import datetime
import struct
import zoneinfo
from typing import Any

import pytest
from beams import Beam, exact
from generated import bytes_values, haystack_values, text_values
from hypothesis import given
from hypothesis import strategies as st

from erl import decoders, encoders, errors, terms
from erl.codec import Options, reference
from erl.codec.options import MAX_DEPTH
from erl.values import plain
from erl.values.scope import Scope, current

native: Any = pytest.importorskip("erl.codec.native", reason="the codec is not compiled here")

pytestmark = pytest.mark.usefixtures("key")

DEFAULT = Options.from_flags(0)
flags = st.integers(0, 31) | st.integers(32, 8191).filter(
    lambda number: number & 192 != 192 and number & 1536 != 1536 and number & 6144 != 6144
)

REFUSALS = (errors.CodecError, errors.StaleReferenceError)


def outcome(function: Any, *arguments: Any) -> Any:
    """What a call gives, or the class of its refusal; any other exception is the test's failure."""
    try:
        value = function(*arguments)
    except REFUSALS as refusal:
        return type(refusal)
    return exact(value), repr(value)


def read_the_same(term: bytes, options: Options) -> Any:
    got = outcome(native.decode, term, options)
    assert got == outcome(reference.decode, term, options)
    return got


# Terms, as bytes: without the version byte


def counted(tag: bytes, length: str, content: bytes) -> bytes:
    return tag + struct.pack(length, len(content)) + content


def atom(name: str) -> bytes:
    return counted(b"w", ">B", name.encode())


def string(text: str) -> bytes:
    return counted(b"k", ">H", text.encode("latin-1"))


def in_tuple(elements: list[bytes]) -> bytes:
    return struct.pack(">BB", 104, len(elements)) + b"".join(elements)


def in_list(elements: list[bytes], tail: bytes = b"j") -> bytes:
    return struct.pack(">BI", 108, len(elements)) + b"".join(elements) + tail


def in_map(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return struct.pack(">BI", 116, len(pairs)) + b"".join(map(b"".join, pairs))


PID = b"X" + atom("n@h") + struct.pack(">III", 7, 0, 1)
HANDLES = [
    PID,
    b"g" + b"d\0\1n" + bytes(9),
    b"x" + atom("n@h") + struct.pack(">QI", 9, 1),
    b"Z\0\2" + atom("n@h") + struct.pack(">III", 1, 2, 3),
    b"q" + atom("lists") + atom("sum") + b"a\1",
]
NAMES = [
    *"ab",
    "dict",
    "set",
    "date",
    "timedelta",
    "bytes",
    "bytearray",
    "Counter",
    "ChainMap",
    "frozenset",
    "complex",
]
NAMES += [
    "Decimal",
    "Fraction",
    "UUID",
    "range",
    "time",
    "datetime",
    "timezone",
    "zoneinfo",
    "$erlport.opaque",
    "$py.ref",
]
NAMES += [
    "py",
    "marker",
    "na",
    "remove",
    "number",
    "ref",
    "uri",
    "coord",
    "timestamp",
    "grid",
    "ndarray",
    "matrix",
]
NAMES += ["meta", "cols", "rows", "name", "<f8", ">i2", "|S1", "<M8[ns]", "|b1", "|V2", "<U1", "|O"]
NAMES += ["python", "erlang", "undefined", "true", "nan", "infinity", "UTC", "1.5", "point", "x" * 40]

names = st.sampled_from(NAMES)
integers = st.one_of(
    st.integers(0, 255).map(lambda number: struct.pack(">BB", 97, number)),
    st.integers(-(2**31), 2**31 - 1).map(lambda number: struct.pack(">Bi", 98, number)),
    st.builds(
        lambda sign, digits: struct.pack(">BBB", 110, len(digits), sign) + digits,
        st.integers(0, 2),
        st.binary(max_size=12),
    ),
    st.binary(max_size=9).map(lambda digits: struct.pack(">BIB", 111, len(digits), 0) + digits),
)
leaves = st.one_of(
    integers,
    names.map(atom),
    names.map(string),
    st.binary(max_size=40).map(lambda name: counted(b"s", ">B", name)),
    st.text(max_size=40).map(lambda name: counted(b"v", ">H", name.encode())),
    st.binary(max_size=6).map(lambda name: counted(b"d", ">H", name)),
    st.binary(max_size=40).map(lambda text: counted(b"k", ">H", text)),
    st.one_of(st.text(max_size=40).map(str.encode), st.binary(max_size=6)).map(
        lambda content: counted(b"m", ">I", content)
    ),
    st.floats().map(lambda number: struct.pack(">Bd", 70, number)),
    st.floats(allow_nan=False).map(lambda number: b"c" + (b"%.20e" % number)[:31].ljust(31, b"\0")),
    st.builds(
        lambda content, bits: struct.pack(">BIB", 77, len(content), bits) + content,
        st.binary(max_size=3),
        st.integers(0, 9),
    ),
    st.sampled_from([b"j", b"\x83a\1", b"P", b"h\0", in_list([b"b\0\0\4\x10"]), *HANDLES]),
)
runs = st.one_of(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=10, max_size=40).map(
        lambda numbers: in_list([struct.pack(">Bi", 98, number) for number in numbers])
    ),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=10, max_size=40).map(
        lambda numbers: in_list([struct.pack(">Bd", 70, number) for number in numbers])
    ),
    st.lists(st.integers(0, 255), min_size=10, max_size=40).map(
        lambda numbers: in_list([struct.pack(">BB", 97, number) for number in numbers])
    ),
)


def forms_of(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Tuples that begin like tagged forms, most with a payload that has a form's shape."""
    heads = names.map(string) | names.map(atom)
    pairs = st.lists(st.tuples(heads | inner, inner).map(list).map(in_tuple), max_size=4)
    payloads = st.one_of(
        inner,
        pairs.map(in_list),
        st.builds(
            lambda some, more, tail: in_list(some + more, tail), pairs, st.lists(inner, max_size=2), inner
        ),
        st.lists(inner, max_size=4).map(in_list),
        st.lists(integers, min_size=2, max_size=8).map(in_tuple),
    )
    return st.one_of(
        st.tuples(heads, payloads).map(list).map(in_tuple),
        st.tuples(st.just(string("dict")), pairs.map(in_list)).map(list).map(in_tuple),
        st.tuples(st.just(string("set")), st.lists(inner, max_size=4).map(in_list)).map(list).map(in_tuple),
        st.tuples(heads, inner, inner).map(list).map(in_tuple),
        st.tuples(heads, integers | st.just(PID), integers, integers).map(list).map(in_tuple),
    )


def haystack_forms_of(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Tuples that are Haystack's forms, or nearly."""
    texts = names.map(string) | st.text(max_size=4).map(lambda text: counted(b"m", ">I", text.encode()))
    small = st.integers(0, 4).map(lambda number: bytes((97, number)))
    blocks = st.integers(0, 40).map(lambda size: counted(b"m", ">I", bytes(size)))
    shapes = st.lists(small, max_size=3).map(in_tuple)
    fields = st.lists(st.tuples(texts, texts, shapes).map(list).map(in_tuple), min_size=1, max_size=3).map(
        in_list
    )
    metas = st.lists(st.tuples(texts | names.map(atom), inner), max_size=2).map(in_map)
    cols = st.one_of(
        texts,
        st.builds(lambda name, meta: in_map([(atom("name"), name), (atom("meta"), meta)]), texts, metas),
    )
    rows = st.lists(inner, max_size=2).map(in_list) | st.lists(st.tuples(texts, inner), max_size=2).map(
        in_map
    )
    grids = st.builds(
        lambda meta, cols, rows: in_map(
            [(atom("meta"), meta), (atom("cols"), in_list(cols)), (atom("rows"), in_list(rows))]
        ),
        metas | inner,
        st.lists(cols, max_size=2),
        st.lists(rows, max_size=3),
    )
    return st.one_of(
        st.tuples(st.just(atom("py")), names.map(atom)).map(list).map(in_tuple),
        st.tuples(st.just(atom("uri")), texts).map(list).map(in_tuple),
        st.tuples(
            st.sampled_from(["number", "ref", "coord", "timestamp"]).map(atom),
            integers | texts | inner,
            small | texts | inner,
        )
        .map(list)
        .map(in_tuple),
        st.tuples(st.just(atom("grid")), grids).map(list).map(in_tuple),
        st.tuples(
            st.just(string("ndarray")),
            st.tuples(texts | fields | inner, shapes | inner, blocks | inner).map(list).map(in_tuple),
        )
        .map(list)
        .map(in_tuple),
        st.tuples(st.just(atom("matrix")), small, small, blocks | inner).map(list).map(in_tuple),
    )


def containers_of(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.lists(inner, max_size=5).map(in_tuple),
        st.lists(inner, max_size=5).map(lambda items: struct.pack(">BI", 105, len(items)) + b"".join(items)),
        st.lists(inner, max_size=5).map(in_list),
        st.builds(in_list, st.lists(inner, max_size=3), inner),
        st.lists(st.tuples(inner, inner), max_size=4).map(in_map),
        forms_of(inner),
        haystack_forms_of(inner),
    )


written_terms = st.recursive(leaves | runs, containers_of, max_leaves=25).map(lambda term: b"\x83" + term)


@st.composite
def mutations(draw: st.DrawFn, of: st.SearchStrategy[bytes] = written_terms) -> bytes:
    """A term with some of its bytes changed, dropped, doubled or cut off."""
    data = bytearray(draw(of))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["byte", "drop", "double", "cut", "tag"]))
        if kind == "byte":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "tag":
            data[at : at + 1] = draw(
                st.sampled_from([bytes([tag]) for tag in b"FMPXYZabcdefghijklmnopqrstuvwx"])
            )
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 6))]
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 12))]
        else:
            del data[at:]
    return bytes(data)


@given(written_terms, flags)
def test_term_is_the_same_value(term: bytes, flags: int) -> None:
    read_the_same(term, Options.from_flags(flags))


@given(mutations(), flags)
def test_mutated_term_has_the_same_verdict(term: bytes, flags: int) -> None:
    read_the_same(term, Options.from_flags(flags))


@given(st.binary(max_size=60), flags)
def test_bytes_from_nowhere_have_the_same_verdict(data: bytes, flags: int) -> None:
    read_the_same(b"\x83" + data, Options.from_flags(flags))


@given(written_terms, flags)
def test_every_cut_of_a_term_is_refused(term: bytes, flags: int) -> None:
    """Each length is read from a buffer of its own, so that a sanitizer sees a step beyond it."""
    for size in range(len(term)):
        with pytest.raises(REFUSALS):
            native.decode(bytearray(term[:size]), Options.from_flags(flags))


@given(text_values | bytes_values | haystack_values, flags)
def test_value_is_the_same_term(beam: Beam, value: Any, flags: int) -> None:
    options = Options.from_flags(flags)
    mine, theirs = outcome(native.encode, value, options), outcome(reference.encode, value, options)
    if mine == theirs:
        return
    assert isinstance(mine, tuple)
    assert isinstance(theirs, tuple)
    written, expected = native.encode(value, options), reference.encode(value, options)
    assert beam.same(written, expected)
    assert read_the_same(written, options) == read_the_same(expected, options)


plain_values = st.recursive(
    st.integers()
    | st.integers(-9, 400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.lists(st.integers(-9, 400) | inner, max_size=50),
        st.lists(st.integers(0, 255)),
    ),
    max_leaves=30,
)


@given(plain_values, st.sampled_from([0, 1]))
def test_plain_value_is_spelled_as_erlang_spells_it(beam: Beam, value: Any, flags: int) -> None:
    written = native.encode(value, Options.from_flags(flags))
    assert beam.echo(written) == written


@pytest.mark.parametrize("size", [1, 2, 250, 255, 256, 300, 500, 510, 600, 65535, 65536])
@pytest.mark.parametrize("last", [255, 256, 2**40, "x", None])
def test_list_of_bytes_that_ends_otherwise_keeps_its_beginning(size: int, last: object) -> None:
    value = [*([7, 255] * size)[: size - 1], last]
    assert native.decode(native.encode(value, DEFAULT), DEFAULT) == reference.decode(
        reference.encode(value, DEFAULT), DEFAULT
    )


@pytest.mark.parametrize("bits", [7, 8, 16, 31, 32, 33, 63, 64, 65, 128, 2039, 2040, 2041, 9000])
@pytest.mark.parametrize("sign", [1, -1])
def test_integer_at_the_edge_of_a_spelling_is_the_same_term(bits: int, sign: int) -> None:
    for value in (sign * 2**bits - 1, sign * 2**bits, sign * 2**bits + 1):
        written = native.encode(value, DEFAULT)
        assert written == reference.encode(value, DEFAULT)
        assert native.decode(written, DEFAULT) == value


EDGES = [
    sign * (2**bits + more)
    for bits in (0, 8, 15, 30, 31, 45, 60, 62, 63, 64)
    for more in (-1, 0, 1)
    for sign in (1, -1)
]


@pytest.mark.parametrize("other", [None, 2**70, 1.5, float("nan"), "x", True])
def test_runs_of_numbers_in_a_list_are_the_same_terms(other: object) -> None:
    """Integers of one, two and more digits of CPython's, and finite floats, in runs that something else ends."""
    for run in (EDGES, EDGES[::-1], [0, *EDGES, 0], [edge / 3 for edge in EDGES], [-0.0, 1e308, 5e-324]):
        for value in (run, [*run, other], [other, *run], [*run, other, *run, 1, 2.5, *run]):
            written = native.encode(value, DEFAULT)
            assert written == reference.encode(value, DEFAULT)
            # The floats that are none come back as atoms, which are equal to themselves.
            read = native.decode(written, DEFAULT)
            assert read == reference.decode(written, DEFAULT)
            assert [type(each) for each in read] == [
                type(each) for each in reference.decode(written, DEFAULT)
            ]


@pytest.mark.parametrize("bits", [0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000])
@pytest.mark.parametrize("before", [0, 1, 3])
def test_float_that_is_none_is_refused_in_a_run_of_floats(bits: int, before: int) -> None:
    one = b"F" + (0x3FF8000000000000).to_bytes(8, "big")
    term = (
        b"\x83l"
        + (before + 2).to_bytes(4, "big")
        + one * before
        + b"F"
        + bits.to_bytes(8, "big")
        + one
        + b"j"
    )
    for codec in (native, reference):
        with pytest.raises(errors.DecodeError, match="is not finite"):
            codec.decode(term, DEFAULT)


@pytest.mark.parametrize(
    "number", [-5, -1, 0, 1, 256, 257, 1024, 1025, -1024, -1025, 2**30, -(2**30), 2**31 - 1, -(2**31)]
)
def test_integer_of_32_bits_is_an_int_like_any_other(number: int) -> None:
    """One that is made here is equal to, and hashes, counts, shows and ends as, one that CPython has made."""
    read = native.decode(b"\x83l\0\0\0\1b" + number.to_bytes(4, "big", signed=True) + b"j", DEFAULT)[0]
    for ask in (
        hash,
        int.bit_length,
        repr,
        lambda each: each + 1,
        lambda each: -each,
        lambda each: each >> 3,
    ):
        assert ask(read) == ask(number)
    assert read == number


def test_integer_that_no_beam_reads_is_refused() -> None:
    with pytest.raises(errors.EncodeError, match="8388608 bytes"):
        native.encode(1 << (8 * 8388608 - 1), DEFAULT)


# Messages


def steps_of(codec: Any, data: bytes, offset: int, steps: list[str]) -> list[Any]:
    """What each step of a reader gives and where it stands then, up to the first refusal."""
    got: list[Any] = []
    try:
        reader = codec.Reader(data, offset)
        for step in steps:
            options = [DEFAULT] if step in ("term", "args") else []
            value = getattr(reader, step)(*options)
            if step == "flagged_args":
                value = [value[0].flags, *value[1]]
            got.append((step, exact(value), reader.position))
    except REFUSALS as refusal:
        got.append(type(refusal))
    return got


steps = st.lists(
    st.sampled_from(
        [
            "call_head",
            "tuple_header",
            "list_header",
            "list_end",
            "term",
            "raw",
            "args",
            "flagged_args",
            "end",
        ],
    ),
    max_size=8,
)
calls = st.builds(
    lambda flags, arguments: (
        b"\x83h\5" + atom("C") + b"a\1" + atom("m") + atom("f") + in_list([flags, *arguments])
    ),
    integers | st.integers(0, 32).map(lambda number: bytes((97, number))),
    st.lists(leaves | runs, max_size=3),
)


@given(calls | mutations(calls) | written_terms, steps, st.booleans())
def test_message_is_taken_apart_the_same(data: bytes, more: list[str], enter: bool) -> None:
    before = ["call_head"] if enter else []
    assert steps_of(native, data, 0, before + more) == steps_of(reference, data, 0, before + more)


@pytest.mark.parametrize("offset", [0, 1, 4, 5, 6, 100])
def test_message_begins_at_its_offset(offset: int) -> None:
    data = b"\0\0\0\6" + native.encode([1, 2, 3], DEFAULT)
    assert steps_of(native, data, offset, ["args", "end"]) == steps_of(
        reference, data, offset, ["args", "end"]
    )


@pytest.mark.parametrize(
    "arguments", [b"j", b"k\0\1\7", b"k\0\3\7\1\2", b"k\0\0", b"k\0\1\xff", b"m\0\0\0\0"]
)
def test_short_arguments_are_the_same(arguments: bytes) -> None:
    for step in ("args", "flagged_args"):
        assert steps_of(native, b"\x83" + arguments, 0, [step]) == steps_of(
            reference, b"\x83" + arguments, 0, [step]
        )


# Depth

NESTINGS = {
    "list": lambda inner: [inner],
    "tuple": lambda inner: (inner,),
    "large_tuple": lambda inner: (inner, *range(300)),
    "dict": lambda inner: {"k": inner},
    "improper": lambda inner: terms.ImproperList([inner], 1),
    "improper_tail": lambda inner: terms.ImproperList([1], (inner,)),
    "counter": lambda inner: collections.OrderedDict(k=inner),
}


LEVELS = {1, 2, 331, 332, 333, 334, 335, 498, 499, 500, 501, 502, *range(MAX_DEPTH - 3, MAX_DEPTH + 3)}
"""Where containers of three, two and one levels meet the limit."""


def verdict(function: Any, *arguments: Any) -> type | None:
    try:
        function(*arguments)
    except REFUSALS as refusal:
        return type(refusal)
    return None


@pytest.mark.parametrize("nest", NESTINGS.values(), ids=NESTINGS)
@pytest.mark.parametrize("flags", [0, 2, 16])
@pytest.mark.parametrize("inmost", [7, [], (), {}, "text", [1, 2], {"k": 1}], ids=repr)
def test_value_is_too_deep_at_the_same_level(nest: Any, flags: int, inmost: object) -> None:
    options = Options.from_flags(flags)
    value = inmost
    for level in range(1, max(LEVELS) + 1):
        value = nest(value)
        if level in LEVELS:
            refused = verdict(native.encode, value, options)
            assert refused == verdict(reference.encode, value, options), level
    assert refused is errors.EncodeError or flags == 16  # where a Counter is one pickle


ENDLESS_TAILS = [lambda inner: in_list([], inner), lambda inner: in_list([b"j"], inner)]
"""A list whose tail is a list is the same list: no level."""


@pytest.mark.parametrize(
    "wrap",
    [
        *ENDLESS_TAILS,
        lambda inner: in_list([inner]),
        lambda inner: in_tuple([inner]),
        lambda inner: in_map([(b"a\1", inner)]),
        lambda inner: in_tuple([string("dict"), in_list([in_tuple([b"a\1", inner])])]),
        lambda inner: in_tuple([string("dict"), inner]),
        lambda inner: in_tuple([string("set"), in_list([inner])]),
        lambda inner: in_tuple([string("date"), inner]),
        lambda inner: in_tuple([string("dict"), in_list([inner])]),
    ],
)
@pytest.mark.parametrize(
    "inmost", [b"a\1", b"j", b"h\0", b"k\0\1x", in_list([]), in_tuple([string("dict"), b"j"])]
)
def test_term_is_too_deep_at_the_same_level(wrap: Any, inmost: bytes) -> None:
    term = inmost
    for level in range(1, max(LEVELS) + 1):
        term = wrap(term)
        if level in LEVELS:
            refused = verdict(native.decode, b"\x83" + term, DEFAULT)
            assert refused == verdict(reference.decode, b"\x83" + term, DEFAULT), level
    assert refused is errors.DecodeError or wrap in ENDLESS_TAILS


def test_list_in_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(errors.EncodeError, match="cycle"):
        native.encode(endless, DEFAULT)


# Code of the user's


class Point:
    def __init__(self, x: object) -> None:
        self.x = x


REGISTERED = [
    (Point, lambda point: (terms.Atom("point"), point.x)),
    (int, lambda number: [terms.Atom("int"), str(number)]),
    (str, lambda text: text.encode()),
    (list, tuple),
    (dict, lambda content: tuple(content)),
    (collections.abc.Sequence, lambda sequence: (len(sequence),)),
    (type(None), lambda none: terms.Atom("null")),
    (Point, lambda point: {}[0]),
    (Point, lambda point: [point]),
]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(("kind", "function"), REGISTERED)
@pytest.mark.parametrize("flags", [0, 1, 3, 16])
def test_registered_encoder_is_obeyed_the_same(beam: Beam, kind: type, function: Any, flags: int) -> None:
    encoders.register(kind, function)
    options = Options.from_flags(flags)
    single = [1, 300, 1.5, "a", b"b", None, True, terms.Atom("c"), terms.Tag("d")]
    nested = [
        [1, 2, 3],
        (1, 2),
        {"a": 1},
        {1: [2]},
        {(1, "a"): "x"},
        {1: 2, "1": 3},
        terms.ImproperList([1], "t"),
    ]
    for value in [
        *single,
        *nested,
        [single, nested],
        Point(1),
        [Point([2])],
        {"p": Point(3)},
        {4: Point(4), 5: 6},
    ]:
        refused = verdict(native.encode, value, options)
        assert refused == verdict(reference.encode, value, options)
        if refused is None:
            assert beam.same(native.encode(value, options), reference.encode(value, options))


@pytest.mark.usefixtures("registered")
def test_registered_decoder_is_obeyed_the_same() -> None:
    given_to: list[Any] = []
    decoders.register("point", lambda payload: given_to.append(payload) or Point(payload))
    decoders.register(terms.Atom("ok"), lambda payload: ("fine", payload))
    decoders.register("dict", lambda payload: ["mine", payload])
    decoders.register("bad", lambda payload: payload.nothing)
    for payload in (b"a\1", b"j", in_list([in_tuple([b"a\1", b"a\2"])]), in_tuple([string("point"), b"a\3"])):
        for head in (string("point"), atom("point"), atom("ok"), string("ok"), string("dict"), string("bad")):
            term = b"\x83" + in_list([in_tuple([head, payload])])
            for flags in (0, 4, 16):
                results = []
                for codec in (native, reference):
                    given_to.clear()
                    got = outcome(codec.decode, term, Options.from_flags(flags))
                    results.append(
                        (got if isinstance(got, type) else type(got), exact(list(map(type, given_to))))
                    )
                assert results[0] == results[1]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("codec", [native, reference])
def test_decoder_of_an_atom_is_found_however_the_atom_is_spelled(codec: Any) -> None:
    """As this release of Erlang and others write it: in Latin-1 (100 and 115) and in UTF-8 (118 and 119)."""
    decoders.register(terms.Atom("é"), lambda payload: ("é", payload))
    name, longer = "é".encode(), "é".encode().decode("latin-1")
    found = [b"d\0\1\xe9", b"s\1\xe9", b"v\0\2" + name, b"w\2" + name]
    others = [b"d\0\2" + name, b"s\2" + name, b"w\4" + longer.encode(), b"d\0\0"]
    for head in found:
        assert codec.decode(b"\x83h\2" + head + b"a\1", DEFAULT) == ("é", 1)
        pairs = b"\x83h\2k\0\4dictl\0\0\0\2h\2" + head + b"a\1a\2j"
        assert codec.decode(pairs, DEFAULT) == (list(b"dict"), [("é", 1), 2])
    for head in others:
        assert codec.decode(b"\x83h\2" + head + b"a\1", DEFAULT)[0] in (longer, "")


@pytest.mark.usefixtures("registered")
def test_encoder_that_changes_the_list_it_is_in_changes_nothing_of_the_term() -> None:
    def grow(values: list[Any]) -> None:
        values[:] = [0] * 999

    for change in (list.clear, list.reverse, grow):
        results = []
        for codec in (native, reference):
            values: list[Any] = [1, 2, "three"]
            content: dict[Any, Any] = {"a": 1, "b": None, "c": 2, "d": [3]}

            def spoil(
                point: Point, values: Any = values, content: Any = content, change: Any = change
            ) -> int:
                change(values)
                content.clear()
                content.update(dict.fromkeys(range(999)))
                return 7

            values += [Point(0), [4], 5]
            content["b"] = values
            encoders.register(Point, spoil)
            results.append(codec.encode([values, content, values], DEFAULT))
        assert results[0] == results[1]


@pytest.mark.usefixtures("registered")
def test_what_is_no_exception_of_the_codec_passes_through() -> None:
    def cancelled(value: object) -> object:
        raise errors.CallCancelled

    encoders.register(Point, cancelled)
    decoders.register("point", cancelled)
    buffer = bytearray(b"before")
    for value in (Point(1), [1, [Point(2)]], {"k": Point(3)}, {1: 2, Point(1): 3}):
        with pytest.raises(errors.CallCancelled):
            native.encode_into(buffer, value, DEFAULT)
    assert buffer == b"before"
    with pytest.raises(errors.CallCancelled):
        native.decode(b"\x83" + in_list([b"a\1", in_tuple([string("point"), b"j"])]), DEFAULT)


def test_refused_value_leaves_the_buffer_as_it_was() -> None:
    buffer = bytearray(b"before")
    for value in (["x" * 1000, terms.Atom("ok"), "\ud800"], {"k": ["x" * 70000, {"\ud800": 1}]}):
        with pytest.raises(errors.EncodeError):
            native.encode_into(buffer, value, Options.from_flags(3))
    assert buffer == b"before"
    native.encode_into(buffer, [1, 2], DEFAULT)
    assert buffer == b"beforek\0\2\1\2"


def test_keys_that_no_dict_can_hold_or_tell_apart_are_refused_the_same() -> None:
    one, true, float_one = b"a\1", atom("true"), struct.pack(">Bd", 70, 1.0)
    keys = [
        one,
        true,
        float_one,
        atom("a"),
        string("a"),
        b"m\0\0\0\1a",
        b"j",
        in_list([one, atom("b")]),
        in_map([]),
    ]
    keys += [in_tuple([string("a")]), in_tuple([atom("a")]), in_tuple([in_list([one, atom("b")])])]
    keys += [in_list([b"b\0\0\4\x10"]), in_tuple([string("set"), in_list([one])])]
    for first in keys:
        for second in keys:
            pairs = [(first, one), (second, true)]
            as_tuples = in_list([in_tuple(list(pair)) for pair in pairs])
            for term in (
                in_map(pairs),
                in_tuple([string("dict"), as_tuples]),
                in_tuple([string("Counter"), as_tuples]),
                in_tuple([string("set"), in_list([first, second])]),
            ):
                for flags in (0, 4):
                    read_the_same(b"\x83" + term, Options.from_flags(flags))


def test_keys_that_are_one_term_are_refused_the_same() -> None:
    options = Options.from_flags(3)
    for value in (
        {"a": 1, b"a": 2},
        {"a": 1, terms.Atom("b"): 2},
        {1: 1, 1.5: 2},
        {(1, "a"): 1, (1, b"a"): 2},
    ):
        assert outcome(native.encode, value, options) == outcome(reference.encode, value, options)


def test_opaque_of_either_is_read_by_the_other() -> None:
    value = [Point, range(5), terms.OpaqueErlang(b"\x83a\1")]
    for writer, reader in ((native, reference), (reference, native)):
        assert reader.decode(writer.encode(value, DEFAULT), DEFAULT) == value
        plain = Options.from_flags(16)
        assert reader.decode(writer.encode(value, plain), plain) == [*value[:2], 1]


@pytest.mark.parametrize("content", [b"", b"\x83", b"m\0\0\0\2x", b"a\1a\1", b"\1"])
def test_what_erlang_can_not_have_wrapped_is_refused_by_both(content: bytes) -> None:
    for codec in (native, reference):
        with pytest.raises(errors.EncodeError, match="not an Erlang term"):
            codec.encode([terms.OpaqueErlang(content)], Options.from_flags(20))


@pytest.mark.parametrize("flags", [0, 1, 20])
def test_atoms_and_lists_of_erlport_are_written_alike(flags: int) -> None:
    atom = plain.Atom(b"a\xe9")
    value: list[Any] = [plain.List([1, 300]), plain.List(), atom, {"k": plain.Atom("ok")}]
    value += [plain.Map({atom: [1], b"b": {atom: 2}}), plain.ImproperList([[1]], atom)]
    value += [plain.OpaqueObject(b"x", atom), plain.OpaqueObject(b"j", plain.Atom(b"erlang"))]
    options = Options.from_flags(flags)
    assert native.encode(value, options) == reference.encode(value, options)
    same = [[1, 300], [], terms.Atom("a\xe9")]
    assert native.encode(value[:3], options) == native.encode(same, options)


def test_object_that_stays_here_is_the_same_for_both(scope: Scope) -> None:
    worker = native.decode(b"\x83" + PID, DEFAULT)
    scope.references.set_identity(worker, 3)
    lines = iter("abc")
    for writer, reader in ((native, reference), (reference, native)):
        assert reader.decode(writer.encode([lines], DEFAULT), DEFAULT) == [lines]
    scope.references.release(scope.references.take_made())
    stale = in_tuple([atom("$py.ref"), PID, b"a\3", b"a\1"])
    with pytest.raises(errors.StaleReferenceError):
        native.decode(b"\x83" + stale, DEFAULT)


def test_pickle_without_signature_is_refused_the_same() -> None:
    current().pickles.set_key(b"another key")
    term = native.encode(range(3), DEFAULT)
    current().pickles.set_key(b"the key of this test")
    assert read_the_same(term, DEFAULT) is errors.DecodeError
    assert read_the_same(term[:-1], DEFAULT) is errors.DecodeError


def test_class_of_a_metaclass_without_a_hash_is_refused() -> None:
    class Odd(type):
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(errors.EncodeError, match="can't be looked up"):
        native.encode([Odd("Kind", (), {})()], DEFAULT)


PARTS = [
    struct.pack(">BB", 97, 5),
    struct.pack(">Bi", 98, 2024),
    struct.pack(">Bi", 98, 5),
    b"b\xff\xff\xff\xff",
]
PARTS += [
    b"b\x7f\xff\xff\xff",
    b"a\0",
    b"a\x3c",
    b"n\1\0\5",
    b"n\5\0" + b"\xff" * 5,
    atom("true"),
    b"j",
    b"h\0",
]
ZONES = [
    atom("undefined"),
    b"d\0\x09undefined",
    atom("utc"),
    b"a\0",
    in_tuple([string("timezone"), b"a\x3c"]),
]
ZONES += [
    in_tuple([string("zoneinfo"), string("Europe/Paris")]),
    in_tuple([string("date"), b"j"]),
    b"m\0\0\0\1u",
]
NOON = [PARTS[1], b"a\7", b"a\1", b"a\x0c", b"a\0", b"a\x3b", b"b\0\x0f\x42\x3f"]


@pytest.mark.parametrize("zone", ZONES, ids=repr)
def test_datetime_is_the_same(zone: bytes) -> None:
    for place in range(7):
        for part in (NOON[place], *PARTS):
            inner = in_tuple([*NOON[:place], part, *NOON[place + 1 :], zone])
            term = b"\x83" + in_tuple([string("datetime"), inner])
            for size in {len(term), len(term) - 1, len(term) - len(zone), len(term) - len(zone) - 4}:
                read_the_same(term[:size], DEFAULT)
            with contextlib.suppress(errors.DecodeError):  # "u" is the name of no zone
                value = reference.decode(term, DEFAULT)
                assert native.encode(value, DEFAULT) == reference.encode(value, DEFAULT)
    for size in (6, 7, 9):
        read_the_same(b"\x83" + in_tuple([string("datetime"), in_tuple([*NOON, zone, zone][:size])]), DEFAULT)


@pytest.mark.parametrize("inmost", [atom("undefined"), b"a\7"])
def test_datetime_is_too_deep_at_the_same_level(inmost: bytes) -> None:
    term = inmost
    for level in range(1, 520):
        term = in_tuple([string("datetime"), in_tuple([*NOON, term])])
        if level > 490 or level < 3:
            assert verdict(native.decode, b"\x83" + term, DEFAULT) == verdict(
                reference.decode, b"\x83" + term, DEFAULT
            )


class Own(datetime.tzinfo):
    """A zone that has no form."""

    def utcoffset(self, moment: object) -> datetime.timedelta:
        return datetime.timedelta(0)


def test_datetimes_of_one_zone_and_of_several_are_the_same() -> None:
    paris, fine = zoneinfo.ZoneInfo("Europe/Paris"), datetime.timezone(datetime.timedelta(microseconds=1))
    zones = [datetime.timezone.utc, None, paris, datetime.timezone(datetime.timedelta(hours=1)), fine, Own()]
    moments = [datetime.datetime(2024, 7, 1, 12, 0, second, tzinfo=zone) for second, zone in enumerate(zones)]
    folded = moments[2].replace(fold=1)
    for first in moments:
        for second in [*moments, folded]:
            value = [first, first, second, folded, second, first]
            assert native.encode(value, DEFAULT) == reference.encode(value, DEFAULT)


@pytest.mark.parametrize("zone", [datetime.timezone.utc, zoneinfo.ZoneInfo("Europe/Paris"), None])
def test_datetime_of_a_known_zone_is_too_deep_at_the_same_level(zone: datetime.tzinfo | None) -> None:
    value: object = datetime.datetime(2024, 7, 1, tzinfo=zone)
    native.encode([value, value], DEFAULT)
    for _ in range(520):
        assert verdict(native.encode, value, DEFAULT) == verdict(reference.encode, value, DEFAULT)
        value = [value]


@pytest.mark.usefixtures("registered")
def test_datetime_is_the_same_where_its_parts_have_an_encoder() -> None:
    value = [datetime.datetime(2024, 7, 1), datetime.datetime(2024, 7, 1, fold=1)]
    for kind, function in ((int, str), (tuple, list), (type(None), lambda none: 0), (datetime.datetime, str)):
        encoders.register(kind, function)
        assert native.encode(value, DEFAULT) == reference.encode(value, DEFAULT)
        encoders.unregister(kind)
