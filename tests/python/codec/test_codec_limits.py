"""What is too deep, too long or too large, on both ways, and what hostile input may cost."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import zlib
from time import perf_counter
from typing import Any

import pytest

from erl import codec, errors
from erl.codec import Options, decode, encode, encode_into, reference
from erl.codec.options import MAX_DEPTH, MAX_INTEGER_BYTES
from erl.terms import Atom, ImproperList, OpaqueErlang

TAGGED = Options.from_flags(0)
MAPS = Options.from_flags(3)

# What one level of nesting is made of: its value, and how many containers it is on the wire.
LEVELS = {
    "list": (lambda inner: [inner], 1, TAGGED),
    "tuple": (lambda inner: (inner,), 1, TAGGED),
    "improper list": (lambda inner: ImproperList([inner], 1), 1, TAGGED),
    "map": (lambda inner: {1: inner}, 1, MAPS),
    "dict": (lambda inner: {1: inner}, 3, TAGGED),
    "frozenset": (lambda inner: frozenset((inner,)), 2, TAGGED),
}

# Seconds that linear work on a hundred kilobytes stays far below, and exponential work does not.
PATIENCE_SECONDS = 10.0


def nested(level: Any, times: int) -> Any:
    value: Any = 1
    for _ in range(times):
        value = level(value)
    return value


@pytest.mark.parametrize("name", LEVELS)
def test_nested_to_the_limit_comes_back(name: str) -> None:
    level, containers, options = LEVELS[name]
    # Compared by its bytes: Python's own `==` and `repr` have less room than the codec, in some versions.
    term = encode(nested(level, MAX_DEPTH // containers), options)
    assert encode(decode(term, options), options) == term


@pytest.mark.parametrize("name", LEVELS)
def test_nested_one_deeper_is_refused(name: str) -> None:
    level, containers, options = LEVELS[name]
    with pytest.raises(errors.EncodeError, match="nested more than 1000 deep"):
        encode(nested(level, MAX_DEPTH // containers + 1), options)


def test_list_nested_100_000_deep_is_refused_both_ways() -> None:
    with pytest.raises(errors.EncodeError, match="deep"):
        encode(nested(LEVELS["list"][0], 100_000), TAGGED)
    with pytest.raises(errors.DecodeError, match="deep"):
        decode(b"\x83" + b"l\0\0\0\1" * 100_000 + b"j" * 100_001, TAGGED)


def test_cyclic_list_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(errors.EncodeError, match="a cycle"):
        encode(cycle, TAGGED)


def test_cyclic_dict_is_refused() -> None:
    cycle: dict[int, Any] = {}
    cycle[1] = (cycle, cycle)
    with pytest.raises(errors.EncodeError, match="a cycle"):
        encode(cycle, MAPS)


def test_failed_encoding_leaves_the_buffer_as_it_was() -> None:
    buffer = bytearray(b"before")
    with pytest.raises(errors.EncodeError):
        encode_into(buffer, [1, "a", Atom("b"), nested(LEVELS["list"][0], 2000)], TAGGED)
    assert buffer == b"before"


def test_package_makes_room_for_the_deepest_term() -> None:
    """In an interpreter of its own, whose limit is Python's default."""
    program = (
        "from erl import codec; o = codec.Options.from_flags(0); v = 1\n"
        "for _ in range(1000): v = [v]\n"
        "term = codec.encode(v, o); print(codec.encode(codec.decode(term, o), o) == term)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("True\n", 0)


def test_caller_without_stack_gets_a_codec_error() -> None:
    """Of the codec in Python; the compiled one needs no frames."""
    deep = nested(LEVELS["list"][0], 900)
    term = encode(deep, TAGGED)

    def at_the_bottom(function: Any, *arguments: Any) -> Any:
        try:
            return at_the_bottom(function, *arguments)
        except RecursionError:
            return function(*arguments)

    with pytest.raises(errors.DecodeError, match="RecursionError"):
        at_the_bottom(reference.decode, term, TAGGED)
    with pytest.raises(errors.EncodeError, match="RecursionError"):
        at_the_bottom(reference.encode, deep, TAGGED)


@pytest.mark.parametrize("character", ["x", "é", "☃", "😀"])
@pytest.mark.parametrize("flags", [0, 20])
def test_atom_of_255_characters_comes_back(character: str, flags: int) -> None:
    options = Options.from_flags(flags)
    assert decode(encode(Atom(character * 255), options), options) == character * 255


def test_atom_of_256_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="256 characters"):
        Atom("x" * 256)
    with pytest.raises(errors.EncodeError, match="256 characters"):
        encode(str.__new__(Atom, "x" * 256), TAGGED)


@pytest.mark.parametrize("flags", [0, 20])
def test_atom_with_a_lone_surrogate_is_refused(flags: int) -> None:
    with pytest.raises(errors.EncodeError, match="surrogate"):
        encode(Atom("\ud800"), Options.from_flags(flags))


def test_longest_integer_comes_back_and_a_longer_one_is_refused() -> None:
    longest = (1 << 8 * MAX_INTEGER_BYTES) - 1
    assert decode(encode(longest, TAGGED), TAGGED) == longest
    with pytest.raises(errors.EncodeError, match="at most"):
        encode(longest + 1, TAGGED)


def test_compressed_term_that_grows_a_thousandfold_is_read() -> None:
    content = b"m" + (10_000_000).to_bytes(4, "big") + bytes(10_000_000)
    term = b"\x83P" + len(content).to_bytes(4, "big") + zlib.compress(content)
    assert decode(term, Options.from_flags(4)) == bytes(10_000_000)


def test_compressed_bomb_is_refused_before_it_grows() -> None:
    bomb = b"\x83P" + (2**28 + 1).to_bytes(4, "big") + zlib.compress(bytes(1000))
    with pytest.raises(errors.DecodeError, match="is the most"):
        decode(bomb, TAGGED)


def form(tag: bytes) -> bytes:
    """The head of `{Tag, [X` for a list of one."""
    return b"h\2k" + len(tag).to_bytes(2, "big") + tag + b"l\0\0\0\1"


HOSTILE = {
    "forms of dicts that do not fit": form(b"dict") * 490 + b"a\1" + b"j" * 490,
    "pairs that head dicts": (form(b"dict") + b"h\2") * 300 + b"a\1a\1" + b"j" * 300,
    "sets of sets": form(b"set") * 490 + b"a\1" + b"j" * 490,
    "tails upon tails": b"l\0\0\0\1a\1" * 20_000 + b"j",
    "repeated keys": b"h\2k\0\4dictl\0\0\x27\x10" + b"h\2a\1a\2" * 10_000 + b"j",
    "repeated elements at every depth": (b"h\2k\0\x09frozensetl\0\0\0\3a\1a\1" * 490) + b"j" * 491,
    "runs that break": b"l\0\0\x4e\x20" + (b"a\1" * 17 + b"b\0\0\1\0" * 3) * 1000 + b"j",
    "a million empty lists": b"l\0\x0f\x42\x40" + b"j" * 1_000_001,
    "many integers": b"l\0\0\x03\xe8" + (b"o\0\0\1\0\0" + b"\xff" * 256) * 1000 + b"j",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_term_costs_no_more_than_its_size(name: str) -> None:
    start = perf_counter()
    with contextlib.suppress(errors.DecodeError):
        decode(b"\x83" + HOSTILE[name], TAGGED)
    assert perf_counter() - start < PATIENCE_SECONDS


def test_erlang_opaque_at_the_limit_is_one_container() -> None:
    held: Any = OpaqueErlang(b"\x83a\x01")
    for _ in range(MAX_DEPTH - 1):
        held = [held]
    term = encode(held, TAGGED)
    assert encode(decode(term, TAGGED), TAGGED) == term
    with pytest.raises(errors.EncodeError, match="deep"):
        encode([held], TAGGED)


def test_implementation_is_named() -> None:
    assert codec.implementation in ("native", "reference")
