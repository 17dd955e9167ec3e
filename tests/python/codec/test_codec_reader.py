"""A message, taken apart piece by piece; and the options it is taken apart under."""

from __future__ import annotations

import copy
import pickle
import zlib
from typing import Any

import pytest
from beams import exact

from erl import errors
from erl.codec import Options, Reader, decode, encode
from erl.terms import Atom

DEFAULT = Options.from_flags(0)
BYTES = Options.from_flags(4)


def reader(value: Any, options: Options = DEFAULT) -> Reader:
    return Reader(encode(value, options))


def test_call_is_read_from_its_head_to_its_end() -> None:
    message = reader((Atom("C"), 7, Atom("math"), Atom("sqrt"), [b"x", 2]))
    assert message.tuple_header() == 5
    assert [message.raw() for _ in range(4)] == ["C", 7, "math", "sqrt"]
    assert message.args(DEFAULT) == ["x", 2]
    message.end()


def test_head_of_a_call_is_read_at_once() -> None:
    message = reader((Atom("C"), 2**40, Atom("math"), Atom("sqrt"), [2]))
    assert exact(message.call_head()) == exact((2**40, Atom("math"), Atom("sqrt")))
    assert message.args(DEFAULT) == [2]


@pytest.mark.parametrize(
    "value",
    [
        (Atom("M"), 1),
        (Atom("D"), 1, Atom("m"), Atom("f"), []),
        (Atom("C"), 1.0, Atom("m"), Atom("f"), []),
        (Atom("C"), 1, None, Atom("f"), []),
        (Atom("C"), 1, Atom("m"), b"f", []),
        [],
        "C",
    ],
)
def test_head_of_what_is_no_call_is_none_and_nothing_is_read(value: Any) -> None:
    message = reader(value)
    assert message.call_head() is None
    assert message.position == 1


def test_position_is_where_the_next_piece_begins() -> None:
    term = b"\x83h\2a\1a\2"
    message = Reader(term)
    message.tuple_header()
    assert message.position == 3
    message.raw()
    assert message.position == 5


def test_message_can_begin_within_the_data() -> None:
    assert Reader(b"....\x83a\7", 4).term(DEFAULT) == 7


@pytest.mark.parametrize("level", [0, 1, 9])
def test_compressed_message_is_read_the_same(level: int) -> None:
    term = encode((1, [2, b"x" * 100]), DEFAULT)[1:]
    message = Reader(b"..\x83P" + len(term).to_bytes(4, "big") + zlib.compress(term, level), 2)
    assert message.tuple_header() == 2
    assert message.raw() == 1
    assert message.args(BYTES) == [2, b"x" * 100]
    message.end()


def test_raw_reads_a_binary_as_bytes() -> None:
    assert reader(b"\xff").raw() == b"\xff"


def test_large_tuple_has_a_header_too() -> None:
    assert reader((1,) * 300).tuple_header() == 300


@pytest.mark.parametrize("value", [[], 1, Atom("a"), b""])
def test_tuple_header_of_another_term_is_refused(value: Any) -> None:
    with pytest.raises(errors.DecodeError, match="a tuple was expected"):
        reader(value).tuple_header()


@pytest.mark.parametrize("term", [b"\x83", b"\x83h", b"\x83i\0\0", b"\x83l\0", b"\x83i\0\0\0\7"])
def test_header_cut_off_is_refused(term: bytes) -> None:
    with pytest.raises(errors.DecodeError, match=r"truncated|expected"):
        Reader(term).tuple_header()
    with pytest.raises(errors.DecodeError, match=r"truncated|expected"):
        Reader(term).list_header()


def test_list_is_entered_and_left() -> None:
    message = reader([Atom("a"), 300])
    assert message.list_header() == 2
    assert (message.raw(), message.raw()) == ("a", 300)
    message.list_end()
    message.end()


def test_empty_list_has_nothing_to_leave() -> None:
    message = reader([])
    assert message.list_header() == 0
    message.end()


def test_list_header_of_a_string_is_refused() -> None:
    with pytest.raises(errors.DecodeError, match="a list was expected"):
        reader([1, 2]).list_header()


def test_leaving_an_improper_list_is_refused() -> None:
    message = Reader(b"\x83l\0\0\0\1a\1a\2")
    message.list_header()
    message.raw()
    with pytest.raises(errors.DecodeError, match="improper"):
        message.list_end()


ARGUMENTS: list[list[Any]] = [
    [],
    [1],
    [1, 2, 255],
    [256],
    [Atom("a")],
    [[1], [2]],
    [1.5] * 20,
    list(range(500)),
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=repr)
def test_arguments_come_as_a_list_however_erlang_wrote_them(arguments: list[Any]) -> None:
    message = reader(arguments)
    assert exact(message.args(DEFAULT)) == exact(arguments)
    message.end()


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=repr)
@pytest.mark.parametrize("flags", [0, 7, 15])
def test_flags_come_off_the_arguments(arguments: list[Any], flags: int) -> None:
    message = reader([flags, *arguments])
    options, rest = message.flagged_args()
    message.end()
    assert options is Options.from_flags(flags)
    assert exact(rest) == exact(arguments)


def test_flags_hold_for_the_arguments_behind_them() -> None:
    assert reader([0, b"a"]).flagged_args()[1] == ["a"]
    assert reader([4, b"a"]).flagged_args()[1] == [b"a"]


@pytest.mark.parametrize(
    "arguments", [[], [Atom("a")], [1.0], [True], [192], [1536], [6144], [8192], [-1], [-1, Atom("a")]]
)
def test_arguments_without_flags_are_refused(arguments: list[Any]) -> None:
    with pytest.raises(errors.DecodeError, match="flags"):
        reader(arguments).flagged_args()


@pytest.mark.parametrize("term", [b"\x83a\1", b"\x83h\0", b"\x83l\0\0\0\1a\1a\2", b"\x83k\0\5ab", b"\x83"])
def test_arguments_that_are_no_proper_list_are_refused(term: bytes) -> None:
    with pytest.raises(errors.DecodeError):
        Reader(term).args(DEFAULT)
    with pytest.raises(errors.DecodeError):
        Reader(term).flagged_args()


def test_bytes_behind_a_message_are_refused_at_its_end() -> None:
    message = Reader(b"\x83a\1a\2")
    message.raw()
    with pytest.raises(errors.DecodeError, match="2 bytes follow"):
        message.end()


@pytest.mark.parametrize("flags", [flags for flags in range(512) if flags & 192 != 192])
def test_options_say_what_their_flags_say(flags: int) -> None:
    options = Options.from_flags(flags)
    assert options.flags == flags
    assert options.strings_binary == bool(flags & 1)
    assert options.dicts_map == bool(flags & 2)
    assert options.binaries_bytes == bool(flags & 4)
    assert options.return_ref == bool(flags & 8)
    assert options.tagged == (not flags & 16)
    assert options.haystack == (flags & 48 == 32)
    assert options.forms == (0 if flags & 16 else flags & 480)
    assert pickle.loads(pickle.dumps(options)) is options is copy.copy(options)


@pytest.mark.parametrize("flags", [-1, 192, 255, 1536, 6144, 8192, 2**70])
def test_options_for_unknown_flags_are_refused(flags: int) -> None:
    with pytest.raises(ValueError, match="flags"):
        Options.from_flags(flags)


def test_options_do_not_change() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        DEFAULT.tagged = False  # type: ignore[misc]
    assert decode(encode("a", DEFAULT), DEFAULT) == [97]
