"""Decoders that user code registers: found by tag, trusted with nothing."""

from __future__ import annotations

from typing import Any

import pytest
from beams import exact

from erl import decoders, errors
from erl.codec import Options, decode, encode
from erl.terms import Atom, Tag

pytestmark = pytest.mark.usefixtures("registered")

DEFAULT = Options.from_flags(0)


def read(value: Any, flags: int = 0) -> Any:
    options = Options.from_flags(flags)
    return decode(encode(value, options), options)


def test_tuple_headed_by_a_string_tag_is_decoded() -> None:
    decoders.register("point", lambda payload: complex(*payload))
    assert read([(Tag("point"), (1, 2))]) == [1 + 2j]


def test_tuple_headed_by_an_atom_tag_is_decoded() -> None:
    decoders.register(Atom("point"), lambda payload: complex(*payload))
    assert read({1: (Atom("point"), (1, 2))}) == {1: 1 + 2j}


@pytest.mark.parametrize(
    "term", [b"h\2d\0\1pa\1", b"h\2s\1pa\1", b"h\2v\0\1pa\1", b"h\2w\1pa\1", b"i\0\0\0\2w\1pa\1"]
)
def test_tag_is_known_in_every_spelling_of_an_atom(term: bytes) -> None:
    decoders.register(Atom("p"), lambda payload: ["decoded", payload])
    assert decode(b"\x83" + term, DEFAULT) == ["decoded", 1]


def test_string_tag_and_atom_tag_of_one_name_are_two() -> None:
    decoders.register("p", lambda payload: "string")
    assert read((Atom("p"), 1)) == (Atom("p"), 1)
    decoders.register(Atom("p"), lambda payload: "atom")
    assert read([(Tag("p"), 1), (Atom("p"), 1)]) == ["string", "atom"]


def test_only_tuples_of_two_are_decoded() -> None:
    decoders.register("p", lambda payload: "decoded")
    assert read((Tag("p"),)) == ([112],)
    assert read((Tag("p"), 1, 2)) == ([112], 1, 2)
    assert read([Tag("p"), 1]) == [[112], 1]


def test_inner_tuple_is_decoded_before_the_outer_one() -> None:
    decoders.register("p", lambda payload: {"p": payload})
    assert read((Tag("p"), (Tag("p"), 1))) == {"p": {"p": 1}}


def test_decoder_wins_over_a_form_of_the_codec() -> None:
    decoders.register("date", lambda payload: ("a date", payload))
    decoders.register("dict", lambda payload: ("a dict", payload))
    decoders.register(Atom("bytes"), lambda payload: ("bytes", payload))
    assert read((Tag("date"), (1, 1, 1))) == ("a date", (1, 1, 1))
    assert read((Tag("dict"), [])) == ("a dict", [])
    assert read((Atom("bytes"), b"x")) == ("bytes", "x")


def test_form_is_back_when_its_decoder_is_unregistered() -> None:
    decoders.register("dict", lambda payload: "mine")
    decoders.unregister("dict")
    assert read({1: 2}) == {1: 2}
    with pytest.raises(LookupError, match="dict"):
        decoders.unregister("dict")


def test_pair_of_a_dict_is_not_decoded() -> None:
    decoders.register("p", lambda payload: "decoded")
    decoders.register(Atom("q"), lambda payload: "decoded")
    assert exact(read({"p": 1, Atom("q"): 2})) == exact({"p": 1, Atom("q"): 2})


def test_pair_that_is_none_after_all_is_decoded() -> None:
    decoders.register("p", lambda payload: "decoded")
    decoders.register(Atom("q"), lambda payload: "decoded too")
    assert read((Tag("dict"), [(Tag("p"), 1), (Atom("q"), 1), 2])) == (
        list(b"dict"),
        ["decoded", "decoded too", 2],
    )


def test_decoder_is_found_when_strings_are_binaries() -> None:
    decoders.register("p", lambda payload: ["decoded", payload])
    assert read((Tag("p"), "text"), flags=1) == ["decoded", "text"]


def test_register_can_decorate() -> None:
    @decoders.register("p")
    def double(payload: Any) -> Any:
        return payload * 2

    assert double(2) == 4
    assert read((Tag("p"), 4)) == 8


@pytest.mark.parametrize(
    "error", [ValueError("no"), IndexError(), UnicodeDecodeError("utf-8", b"", 0, 1, "x")]
)
@pytest.mark.parametrize("tag", ["p", Atom("p")])
def test_decoder_that_raises_is_an_error_that_names_the_tag_and_the_cause(tag: str, error: Exception) -> None:
    def fail(payload: Any) -> Any:
        raise error

    decoders.register(tag, fail)
    head = tag if isinstance(tag, Atom) else Tag(tag)
    with pytest.raises(errors.DecodeError, match=f"decoder of 'p' failed: {type(error).__name__}") as caught:
        read([(head, 1)])
    assert caught.value.__cause__ is error


class Unhashable:
    def __hash__(self) -> int:
        raise ZeroDivisionError("no hash")


class Unequal:
    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("no equality")

    def __repr__(self) -> str:
        raise ZeroDivisionError("no text")


@pytest.mark.parametrize("kind", [Unhashable, Unequal])
def test_key_whose_hash_or_equality_raises_is_an_error(kind: type) -> None:
    decoders.register("p", lambda payload: kind())
    key = (Tag("p"), 1)
    for value in ((Tag("dict"), [(key, 1), (key, 2)]), (Tag("set"), [key, key])):
        with pytest.raises(errors.DecodeError, match="hashing the keys failed: ZeroDivisionError"):
            read(value)


def test_plain_mapping_knows_no_decoders() -> None:
    decoders.register(Atom("p"), lambda payload: "decoded")
    assert read((Atom("p"), 1), flags=20) == (Atom("p"), 1)


@pytest.mark.parametrize("tag", ["", "☃", "x" * 65536])
def test_string_tag_that_erlang_would_not_send_as_one_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="string tag"):
        decoders.register(tag, print)


@pytest.mark.parametrize(("tag", "function"), [(1, print), (b"p", print), ("p", 1)])
def test_what_is_no_tag_or_no_function_is_refused(tag: Any, function: Any) -> None:
    with pytest.raises(TypeError, match="register"):
        decoders.register(tag, function)


def test_set_decoder_sees_an_argument_once_and_whole() -> None:
    assert decoders.apply([1]) == [1]
    decoders.set_decoder(lambda value: ("seen", value))
    assert decoders.apply([1]) == [("seen", 1)]
    decoders.set_decoder(None)
    assert decoders.apply([1]) == [1]
