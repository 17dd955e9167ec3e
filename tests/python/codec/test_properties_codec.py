"""Properties of the codec, held against a real BEAM, against erlang-py, and against bytes from nowhere."""

from __future__ import annotations

import contextlib
import sys
import zlib
from typing import Any

import erlang as erlang_py
import pytest
from beams import Beam, exact
from generated import atoms, bytes_values, floats, integers, text_values
from hypothesis import given
from hypothesis import strategies as st

from erl import errors
from erl.codec import Options, Reader, decode, encode
from erl.terms import Atom, BitString, Fun, Pid, Port, Reference

pytestmark = pytest.mark.usefixtures("key")

PLAIN = Options.from_flags(20)
RAW = Options.from_flags(4)

# Options under which text, or bytes, come back as what they were.
TEXT_FLAGS = (1, 3)
BYTES_FLAGS = (4, 6)


def comes_back(value: Any, options: Options, beam: Beam) -> None:
    term = encode(value, options)
    assert exact(decode(term, options)) == exact(value)
    assert exact(decode(beam.echo(term), options)) == exact(value)


@given(text_values, st.sampled_from(TEXT_FLAGS))
def test_value_with_text_comes_back_from_erlang_the_same(beam: Beam, value: Any, flags: int) -> None:
    comes_back(value, Options.from_flags(flags), beam)


@given(bytes_values, st.sampled_from(BYTES_FLAGS))
def test_value_with_bytes_comes_back_from_erlang_the_same(beam: Beam, value: Any, flags: int) -> None:
    comes_back(value, Options.from_flags(flags), beam)


@given(st.one_of(text_values, bytes_values), st.integers(0, 31))
def test_value_is_written_and_read_under_any_options(value: Any, flags: int) -> None:
    """What it is read as is another matter; it is written, or refused with the codec's own error."""
    options = Options.from_flags(flags)
    with contextlib.suppress(errors.EncodeError, errors.DecodeError):
        decode(encode(value, options), options)


def read_or_refused(data: bytes, options: Options) -> Any:
    """The value, or the refusal; any other exception is the test's failure."""
    try:
        return decode(data, options)
    except (errors.DecodeError, errors.StaleReferenceError) as refusal:
        return refusal


# Terms

SPELLINGS = "t02z"


def quoted(name: str) -> str:
    return "'" + "".join(f"\\x{{{ord(character):x}}}" for character in name) + "'"


def string(text: str) -> str:
    return '"' + "".join(f"\\x{{{ord(character):x}}}" for character in text) + '"'


characters = st.characters(exclude_categories=["Cs"])
atom_texts = st.text(characters, max_size=12).map(quoted)
leaf_texts = st.one_of(
    integers.map(str),
    floats.map(lambda number: f"({number!r})" if "." in repr(number) else f"({number:.1f})"),
    atom_texts,
    st.text(characters, max_size=12).map(string),
    st.binary(max_size=9).map(lambda data: f"<<{', '.join(map(str, data))}>>"),
    st.tuples(st.integers(1, 7), st.integers(0, 127)).map(lambda bits: f"<<7, {bits[1]}:{bits[0]}>>"),
    st.sampled_from(["self()", "make_ref()", "hd(erlang:ports())", "fun lists:sum/1", "fun(X) -> X end"]),
    st.sampled_from(["[]", "{}", "#{}", "<<>>", "''", "lists:seq(1, 300)", "lists:seq(-40, 40)"]),
)


def container_texts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, max_size=4)
    keys = st.one_of(integers.map(str), atom_texts, st.text(characters, max_size=4).map(string))
    return st.one_of(
        several.map(lambda parts: "[" + ", ".join(parts) + "]"),
        several.map(lambda parts: "{" + ", ".join(parts) + "}"),
        st.tuples(several, inner, inner).map(lambda p: "[" + ", ".join([*p[0], p[1]]) + " | " + p[2] + "]"),
        st.dictionaries(keys, inner, max_size=4).map(
            lambda pairs: "#{" + ", ".join(f"{key} => {value}" for key, value in pairs.items()) + "}"
        ),
    )


term_texts = st.recursive(leaf_texts, container_texts, max_leaves=15)


@given(term_texts)
def test_term_of_erlang_is_the_same_term_when_it_comes_back(beam: Beam, text: str) -> None:
    term = beam.evaluate(text + ".")
    options = Options.from_flags(6)
    value = read_or_refused(term, options)
    if isinstance(value, errors.DecodeError):
        assert "equal in Python" in str(value)
    else:
        assert beam.same(encode(value, options), term)


@given(term_texts, st.sampled_from(SPELLINGS))
def test_term_is_read_alike_in_every_spelling(beam: Beam, text: str, spelling: str) -> None:
    term = beam.evaluate(text + ".")
    again = beam.echo(term, spelling)
    try:
        value = decode(term, RAW)
    except errors.DecodeError:
        with pytest.raises(errors.DecodeError):
            decode(again, RAW)
    else:
        if "fun(X)" not in text:  # closures are compared by their bytes, which differ here
            assert exact(decode(again, RAW)) == exact(value)


# Bytes from nowhere

TAG_BYTES = st.sampled_from([0, 1, 2, 3, 80, 255, *range(70, 122), 131])
heads = st.sampled_from(
    [
        b"h\2k\0\4dict",
        b"h\2k\0\3set",
        b"h\2k\0\4date",
        b"h\3w\x0f$erlport.opaquew\6python",
        b"h\2w\5bytes",
        b"h\4w\7$py.ref",
    ]
)
rubbish = st.one_of(
    st.binary(max_size=60),
    st.lists(TAG_BYTES, max_size=60).map(bytes),
    st.lists(heads | TAG_BYTES.map(lambda tag: bytes((tag,))), max_size=20).map(b"".join),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid term with some bytes changed, cut out or doubled."""
    flags = draw(st.sampled_from([0, 1, 2, 3]))
    term = bytearray(encode(draw(text_values if flags & 1 else bytes_values), Options.from_flags(flags)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(1, len(term)))
        wound = draw(st.sampled_from(["change", "tag", "cut", "double", "end"]))
        if wound == "change" and at < len(term):
            term[at] = draw(st.integers(0, 255))
        elif wound == "tag" and at < len(term):
            term[at] = draw(TAG_BYTES)
        elif wound == "cut":
            del term[at : at + draw(st.integers(1, 8))]
        elif wound == "double":
            term[at:at] = term[at : at + draw(st.integers(1, 8))]
        else:
            del term[at:]
    return bytes(term)


def options_for(data: bytes, flags: int) -> Options:
    """Options that do not unpickle rubbish: ErlPort's rule would."""
    return Options.from_flags(flags & 15 if b"$erlport" in data else flags)


@given(rubbish, st.integers(0, 31))
def test_rubbish_is_refused_or_is_a_value(data: bytes, flags: int) -> None:
    options = options_for(data, flags)
    compressed = b"\x83P" + len(data).to_bytes(4, "big") + zlib.compress(data)
    for term in (data, b"\x83" + data, compressed):
        read_or_refused(term, options)


@given(rubbish | damaged(), st.integers(0, 31))
def test_rubbish_for_a_message_is_refused_or_read(data: bytes, flags: int) -> None:
    options = options_for(data, flags)
    pieces: list[Any] = [
        lambda message: (message.tuple_header(), message.raw(), message.raw(), message.end()),
        lambda message: (message.list_header(), message.term(options), message.list_end()),
        lambda message: message.args(options),
        lambda message: message.flagged_args(),
    ]
    for piece in pieces:
        with contextlib.suppress(errors.DecodeError, errors.StaleReferenceError):
            piece(Reader(b"\x83" + data.removeprefix(b"\x83")))


@given(damaged(), st.integers(0, 31))
def test_damaged_term_is_refused_or_is_a_value(data: bytes, flags: int) -> None:
    read_or_refused(data, options_for(data, flags))


@given(damaged() | rubbish.map(lambda data: b"\x83" + data))
def test_damaged_term_that_both_sides_read_is_the_same_term_for_both(beam: Beam, data: bytes) -> None:
    if b"$erlport" in data:
        return  # ErlPort's rule would unpickle it
    value = read_or_refused(data, PLAIN)
    if isinstance(value, Exception):
        return
    try:
        beam.echo(data)
    except ValueError:
        return
    assert beam.same(encode(value, PLAIN), data)


# erlang-py

both_right = st.recursive(
    st.one_of(integers, floats, st.none(), st.booleans(), atoms, st.binary(), st.just([])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(tuple),
        st.lists(inner | st.just(()), max_size=5),
        st.dictionaries(atoms, inner, max_size=4),
    ),
    max_leaves=15,
)


def ours(value: Any) -> Any:
    """A value of erlang-py's as the codec would give it."""
    if isinstance(value, erlang_py.OtpErlangAtom):
        return Atom(value.value if isinstance(value.value, str) else value.value.decode("latin-1"))
    if isinstance(value, erlang_py.OtpErlangBinary):
        return value.value if value.bits == 8 else BitString(value.value, value.bits)
    if isinstance(value, bytes):
        return list(value)
    if isinstance(value, dict):
        return {ours(key): ours(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(ours, value))
    return value


@given(both_right)
def test_term_is_read_as_erlang_py_reads_it(beam: Beam, value: Any) -> None:
    options = Options.from_flags(6)
    term = beam.echo(encode(value, options))
    assert exact(decode(term, options)) == exact(ours(erlang_py.binary_to_term(term))) == exact(value)


HANDLES = {
    "self()": (Pid, erlang_py.OtpErlangPid),
    "hd(erlang:ports())": (Port, erlang_py.OtpErlangPort),
    "make_ref()": (Reference, erlang_py.OtpErlangReference),
    "fun lists:sum/1": (Fun, erlang_py.OtpErlangFunction),
    "fun(X) -> X end": (Fun, erlang_py.OtpErlangFunction),
}


@pytest.mark.parametrize("text", HANDLES)
def test_handle_is_what_erlang_py_takes_it_for(beam: Beam, text: str) -> None:
    term = beam.evaluate(text + ".")
    kind, their_kind = HANDLES[text]
    value = decode(term, RAW)
    assert type(value) is kind
    assert type(erlang_py.binary_to_term(b"\x83" + value.external)) is their_kind
    assert beam.same(b"\x83" + value.external, term)


def test_newest_pids_ports_and_references_are_read_without_erlang_py(monkeypatch: pytest.MonkeyPatch) -> None:
    spellings = (b"w\x09here@host", b"d\0\x09here@host", b"s\x09here@host")
    makes = (
        lambda node: b"X" + node + bytes(8) + b"\0\0\0\1",
        lambda node: b"x" + node + bytes(8) + b"\0\0\0\1",
        lambda node: b"Z\0\3" + node + b"\0\0\0\1" + bytes(12),
    )
    older = b"g" + spellings[0] + bytes(8) + b"\1"
    whole = [erlang_py.binary_to_term(b"\x83" + make(spellings[0])).binary() for make in makes]
    assert isinstance(decode(b"\x83" + older, RAW), Pid)
    monkeypatch.setitem(sys.modules, "erlang", None)
    for make, known in zip(makes, whole, strict=True):
        for node in spellings:
            assert encode(decode(b"\x83" + make(node), RAW), RAW) == b"\x83" + known
    for unfit in (older, b"X" + b"w\x02\xc3\xa4" + bytes(12), b"Z\0\0" + spellings[0] + b"\0\0\0\1"):
        with pytest.raises(errors.DecodeError):
            decode(b"\x83" + unfit, RAW)
