"""Arrays of numpy, exact both ways over both codecs, and nothing else read as one."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from beams import Beam, exact
from both_codecs import CODECS, read, written
from hypothesis import given
from hypothesis import strategies as st

from erl import errors
from erl.codec import Options
from erl.terms import Atom, Tag

np: Any = pytest.importorskip("numpy", reason="numpy is not installed here")
hypothesis_numpy: Any = pytest.importorskip("hypothesis.extra.numpy")

pytestmark = pytest.mark.usefixtures("key")

ARRAYS = Options.from_flags(32)
MATRICES = Options.from_flags(32 + 256)
BYTES = Options.from_flags(32 + 4)
DEFAULT = Options.from_flags(0)

DTYPES = [
    *("?", "i1", "u1", "<i2", ">i2", "<u4", ">u4", "<i8", ">i8", "<u8"),
    *("<f2", ">f2", "<f4", "<f8", ">f8", "g", "<c8", ">c8", "<c16", "G"),
    *("<M8[ns]", ">M8[us]", "<M8[D]", "<M8[25s]", "<m8[ns]", ">m8[h]", "M8", "m8"),
    *("S1", "S7", "<U1", ">U3", "V3"),
    [("a", "<i4"), ("b", ">f8")],
    [("date", "S3"), ("set", "<i2", (2, 3)), ("bytes", "?")],
    [("ключ", "<U2"), ("inner", [("x", "<f4"), ("y", "<M8[s]", (2,))])],
]
SHAPES = [(), (0,), (1,), (3,), (2, 3), (0, 4), (4, 0, 2), (2, 1, 3), (1,) * 8]


def filled(dtype: Any, shape: tuple[int, ...]) -> Any:
    """An array of different elements."""
    kind = np.dtype(dtype)
    array = np.zeros(shape, kind)
    if kind.kind in "biufcmM":
        array = (np.arange(array.size) % 7).reshape(shape).astype(kind)
    elif kind.kind in "SU":
        array = np.array(
            [f"{number}é"[:2] if kind.kind == "U" else b"%d" % number for number in range(array.size)]
        )
        array = array.astype(kind).reshape(shape)
    else:
        raw = bytearray(np.zeros(shape, kind).tobytes())
        raw[::5] = b"\x01" * len(raw[::5])
        array = np.ndarray(shape, kind, bytes(raw))
    return array


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
def test_array_comes_back_exact(dtype: Any, shape: tuple[int, ...]) -> None:
    array = filled(dtype, shape)
    for options in (ARRAYS, BYTES, MATRICES):
        for place in (lambda value: value, lambda value: [1, (value,)], lambda value: {1: value}):
            term = written(place(array), options)
            back = read(term, options)
            assert exact(back) == exact(place(array))
    assert b"ndarray" in written(array, ARRAYS)
    assert back[1].flags.writeable


def records() -> list[Any]:
    aligned = np.dtype([("a", "i1"), ("b", "<f8")], align=True)
    spaced = np.dtype({"names": ["a", "b"], "formats": ["<i2", "u1"], "offsets": [3, 9], "itemsize": 16})
    return [np.zeros(3, aligned), np.ones(2, spaced)]


@pytest.mark.parametrize("array", records(), ids=lambda array: str(array.dtype))
def test_record_keeps_its_gaps(array: Any) -> None:
    back = read(written(array, ARRAYS), ARRAYS)
    assert back.dtype == array.dtype
    assert back.dtype.itemsize == array.dtype.itemsize
    assert back.tolist() == array.tolist()


WHOLE = np.arange(24, dtype="<i4").reshape(4, 6)


@pytest.mark.parametrize(
    "array",
    [
        WHOLE.T,
        np.asfortranarray(WHOLE),
        WHOLE[::2, ::3],
        WHOLE[::-1],
        np.broadcast_to(np.float32(1.5), (3, 2)),
        WHOLE.astype(">i4")[1],
    ],
    ids=lambda array: f"{array.shape}{array.strides}",
)
def test_array_however_it_lies_in_memory_comes_back_by_row(array: Any) -> None:
    back = read(written(array, ARRAYS), ARRAYS)
    assert (back == array).all()
    assert exact(back) == exact(np.ascontiguousarray(array))


def overlapping() -> Any:
    return np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [0, 2]}))


def disordered() -> Any:
    return np.zeros(2, [("a", "<i4"), ("b", "<i2")])[["b", "a"]]


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, "a", None], dtype=object),
        np.zeros(2, [("a", "<i4"), ("b", object)]),
        np.zeros(2, [(("title", "a"), "<i4")]),
        np.zeros(3, "V0"),
        overlapping(),
        disordered(),
        np.zeros(2, np.dtype("<i4", metadata={"unit": "m"})),
        np.array(["a", "bc"], dtype=np.dtypes.StringDType())
        if hasattr(np.dtypes, "StringDType")
        else np.array([{}]),
        np.ma.masked_array([1, 2], [True, False]),
        np.zeros(2, [("a", "<i4")]).view(np.recarray),
    ],
    ids=lambda array: f"{type(array).__name__} {array.dtype}",
)
def test_array_that_the_form_would_change_is_an_opaque(array: Any) -> None:
    term = written(array, ARRAYS)
    assert b"$erlport.opaque" in term
    assert b"ndarray\0" not in term[:20]
    back = read(term, ARRAYS)
    assert type(back) is type(array)
    assert back.dtype == array.dtype


def test_array_is_an_opaque_without_the_option() -> None:
    for flags in (0, 3, 16):
        assert b"$erlport.opaque" in written(np.zeros(3), Options.from_flags(flags))


def test_array_is_the_documented_term(beam: Beam) -> None:
    array = np.array([[1, 2], [3, 4]], "<f8")
    text = '{"ndarray", {"<f8", {2, 2}, <<1/float-little, 2/float-little, 3/float-little, 4/float-little>>}}.'
    assert beam.same(written(array, ARRAYS), beam.evaluate(text))
    array = np.array([(1, [2, 3])], [("a", ">i4"), ("b", "u1", (2,))])
    text = '{"ndarray", {[{"a", ">i4", {}}, {"b", "|u1", {2}}], {1}, <<1:32, 2, 3>>}}.'
    assert beam.same(written(array, ARRAYS), beam.evaluate(text))


def test_type_may_be_a_binary(beam: Beam) -> None:
    for options in (ARRAYS, BYTES):
        for text in (
            '{<<"<i2">>, {1}, <<7:16/little>>}',
            '{[{<<"a">>, <<"<i2">>, {}}], {1}, <<7:16/little>>}',
        ):
            array = read(beam.evaluate(f'{{"ndarray", {text}}}.'), options)
            assert array.shape == (1,)
            assert array.tobytes() == b"\7\0"


NO_ARRAY = [
    '{"<f8", {1}, <<>>}',
    '{"<f8", {1}, <<0:56>>}',
    '{"<f8", {1}, <<0:72>>}',
    '{"<f8", {1 bsl 62, 4}, <<>>}',
    '{"<f8", {-1}, <<>>}',
    '{"<f8", {-1, -1}, <<0:64>>}',
    '{"<f8", {1.0}, <<0:64>>}',
    '{"<f8", {true}, <<0:64>>}',
    '{"<f8", 1, <<0:64>>}',
    '{"<f8", [1], <<0:64>>}',
    '{"<f8", list_to_tuple(lists:duplicate(65, 1)), <<0:64>>}',
    '{"<f8", {1}, "12345678"}',
    '{"<f8", {1}, 0}',
    '{"<f8", {1}}',
    '{"<f8", {1}, <<0:64>>, more}',
    '{"O", {1}, <<0:64>>}',
    '{"|O", {1}, <<0:64>>}',
    '{"|O8", {1}, <<0:64>>}',
    '{"object", {1}, <<0:64>>}',
    '{"float64", {1}, <<0:64>>}',
    '{"f8,f8", {1}, <<0:128>>}',
    '{"(2,)f8", {1}, <<0:128>>}',
    '{"<f8 ", {1}, <<0:64>>}',
    '{"<f8\\n", {1}, <<0:64>>}',
    '{"=f8", {1}, <<0:64>>}',
    '{"<f3", {1}, <<0:24>>}',
    '{"|S0", {1}, <<>>}',
    '{"|V0", {1 bsl 40}, <<>>}',
    '{"|S99999999999", {0}, <<>>}',
    '{"<M8[fortnight]", {1}, <<0:64>>}',
    '{"", {0}, <<>>}',
    "{f8, {1}, <<0:64>>}",
    "{[], {0}, <<>>}",
    '{[{"a", "|O", {}}], {1}, <<0:64>>}',
    '{[{"a", "<f8"}], {1}, <<0:64>>}',
    '{[{"a", "<f8", {1 bsl 62}}], {0}, <<>>}',
    '{[{"a", "<f8", {}}, {"a", "<f8", {}}], {0}, <<>>}',
    '{[{1, "<f8", {}}], {0}, <<>>}',
    '{[{"a", "<f8", {}} | b], {0}, <<>>}',
    "5",
    "[]",
]


@pytest.mark.parametrize("text", NO_ARRAY)
def test_tuple_that_is_no_array_stays_a_tuple(text: str, beam: Beam) -> None:
    term = beam.evaluate(f'{{"ndarray", {text}}}.')
    for flags in (32, 36):
        value = read(term, Options.from_flags(flags))
        assert type(value) is tuple
        assert exact(value) == exact(CODECS[0].decode(term, Options.from_flags(flags & 4)))


def test_record_nested_without_end_stays_a_tuple() -> None:
    dtype: Any = Tag("u1")
    for _ in range(20):
        dtype = [(Tag("a"), dtype, ())]
    term = written((Tag("ndarray"), (dtype, (1,), b"\0")), DEFAULT)
    assert type(read(term, ARRAYS)) is tuple


def test_tuple_that_is_no_array_is_read_once() -> None:
    """Were it read as an array and again as a tuple, the time would double with each level."""
    term: Any = b"x"
    for _ in range(60):
        term = (Tag("ndarray"), ([Tag("f8")], (1,), [term]))
    assert type(read(written(term, DEFAULT), ARRAYS)) is tuple


def test_binary_of_what_is_no_array_is_text_again() -> None:
    shape = b"h\2k\0\7ndarrayh\3k\0\3<f8h\1a\1m\0\0\0\1"
    assert read(b"\x83" + shape + b"x", ARRAYS)[1][2] == "x"
    assert read(b"\x83" + shape + b"x", BYTES)[1][2] == b"x"
    for codec in CODECS:
        with pytest.raises(errors.DecodeError, match="UTF-8"):
            codec.decode(b"\x83" + shape + b"\xff", ARRAYS)


# Matrices


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (2, 3)])
def test_matrix_comes_back(shape: tuple[int, int], beam: Beam) -> None:
    array = np.arange(shape[0] * shape[1], dtype="f8").reshape(shape)
    for kept in (array, np.asfortranarray(array)):
        term = written([kept], MATRICES)
        numbers = ", ".join(f"{number}/float-little" for number in array.ravel().tolist())
        assert beam.same(term, beam.evaluate(f"[{{matrix, {shape[0]}, {shape[1]}, <<{numbers}>>}}]."))
        for options in (ARRAYS, MATRICES, BYTES):
            assert exact(read(term, options)) == exact([array])


def test_other_arrays_are_no_matrices() -> None:
    for array in (
        np.zeros(3),
        np.zeros((1, 1, 1)),
        np.zeros((2, 2), "f4"),
        np.zeros((2, 2), ">f8"),
        np.zeros(()),
    ):
        assert b"ndarray" in written(array, MATRICES)
    assert b"$erlport.opaque" in written(np.zeros(3), Options.from_flags(256))
    assert read(written(np.zeros((1, 1)), Options.from_flags(256 + 4)), Options.from_flags(4)) == (
        Atom("matrix"),
        1,
        1,
        bytes(8),
    )


@pytest.mark.parametrize(
    "text",
    [
        "{matrix, 1, 1, <<>>}",
        "{matrix, 1, 2, <<0:64>>}",
        "{matrix, -1, -1, <<0:64>>}",
        "{matrix, 1.0, 1, <<0:64>>}",
        "{matrix, true, 1, <<0:64>>}",
        "{matrix, 1, 1, [0]}",
        "{matrix, 1, 1}",
        "{matrix, 1, 1, <<0:64>>, 1}",
        '{"matrix", 1, 1, <<0:64>>}',
        "{matrix, {matrix, 0, 0, <<>>}, 1, <<0:64>>}",
    ],
)
def test_tuple_that_is_no_matrix_stays_a_tuple(text: str, beam: Beam) -> None:
    term = beam.evaluate(f"{text}.")
    assert type(read(term, ARRAYS)) is tuple
    assert type(read(term, Options.from_flags(0))) is tuple


# Scalars are what they were


def test_scalar_is_a_number_as_ever() -> None:
    assert read(written([np.int64(3), np.float32(1.5), np.bool_(True)], ARRAYS), ARRAYS) == [3, 1.5, True]


# Properties


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    dtype = draw(
        st.one_of(
            hypothesis_numpy.scalar_dtypes(),
            hypothesis_numpy.byte_string_dtypes(min_len=1),
            hypothesis_numpy.unicode_string_dtypes(min_len=1),
            hypothesis_numpy.array_dtypes(
                subtype_strategy=hypothesis_numpy.scalar_dtypes(), min_size=1, max_size=3
            ),
        )
    )
    shape = draw(hypothesis_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    if np.dtype(dtype).kind in "USV":
        return np.zeros(shape, dtype)
    return np.ndarray(shape, dtype, draw(st.binary(min_size=size, max_size=size)))


@given(arrays(), st.booleans())
def test_any_array_comes_back_from_erlang(beam: Beam, array: Any, turned: bool) -> None:
    array = array.T if turned else array
    term = written(array, ARRAYS)
    back = read(beam.echo(term), ARRAYS)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


@given(st.text(max_size=12), st.integers(0, 40))
def test_any_type_is_an_array_or_a_tuple(dtype: str, size: int) -> None:
    name = dtype.encode()
    term = b"\x83h\2k\0\7ndarrayh\3m" + struct.pack(">I", len(name)) + name + b"h\1a\1m"
    read(term + struct.pack(">I", size) + bytes(size), ARRAYS)
