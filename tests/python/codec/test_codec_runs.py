"""Lists of numbers, which are read and written in runs: the same values as one by one."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from beams import Beam, exact

from erl import errors
from erl.codec import Options, decode, encode
from erl.codec.runs import MIN_LENGTH

DEFAULT = Options.from_flags(0)
COUNTS = [0, 1, 2, MIN_LENGTH - 1, MIN_LENGTH, MIN_LENGTH + 1, 63, 64, 65, 575, 576, 577, 5000, 65535, 65536]
ELEMENTS: dict[str, Any] = {
    "small": lambda n: n % 256,
    "integers": lambda n: n * 7919 % 2**32 - 2**31,
    "crossing 255": lambda n: n % 300,
    "floats": lambda n: n / 7 - 100,
    "beyond 32 bits": lambda n: n + 2**31 - 20,
    "mixed": lambda n: n if n % 17 else float(n),
    "with booleans": lambda n: n > 3,
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", ELEMENTS)
def test_list_of_numbers_comes_back_from_erlang(name: str, count: int, beam: Beam) -> None:
    values = [ELEMENTS[name](n) for n in range(count)]
    term = encode(values, DEFAULT)
    assert exact(decode(term, DEFAULT)) == exact(values)
    assert exact(decode(beam.echo(term), DEFAULT)) == exact(values)


@pytest.mark.parametrize("before", [0, 1, 15, 16, 17, 64, 70])
@pytest.mark.parametrize("behind", [0, 1, 15, 16, 17, 64, 70])
def test_run_ends_where_the_tags_change(before: int, behind: int) -> None:
    values = [*range(300, 300 + before), *[0.5] * behind, *[1] * before, *["a"] * behind]
    expected = [[97] if value == "a" else value for value in values]
    assert exact(decode(encode(values, DEFAULT), DEFAULT)) == exact(expected)


def test_numbers_whose_bytes_look_like_tags_come_back() -> None:
    integers = [0x62626262] * 50 + [97, 98, 106, 0x61616161] * 20
    floats = [struct.unpack(">d", b"F" * 8)[0]] * 50
    for values in (integers, floats, [*integers, *floats]):
        assert exact(decode(encode(values, DEFAULT), DEFAULT)) == exact(values)


@pytest.mark.parametrize("cut", [1, 2, 5, 9, 50])
@pytest.mark.parametrize("element", [b"a\1", b"b\0\0\1\0", b"F\x3f\xf0\0\0\0\0\0\0"])
def test_run_cut_off_is_refused(element: bytes, cut: int) -> None:
    whole = b"\x83l\0\0\0\x64" + element * 100 + b"j"
    with pytest.raises(errors.DecodeError, match="truncated"):
        decode(whole[:-cut], DEFAULT)


def test_floats_that_are_not_finite_go_out_as_atoms_from_a_long_list() -> None:
    values = [0.5] * 30 + [float("inf"), float("-inf"), float("nan")]
    assert decode(encode(values, DEFAULT), DEFAULT)[-3:] == ["infinity", "-infinity", "nan"]


@pytest.mark.parametrize(
    "text", ["a" * 65535, "a" * 65536, "é" * 65536, "☃", "☃" * 70000, "\ud800", "a\0😀" * 9]
)
def test_text_is_its_code_points_for_erlang(text: str, beam: Beam) -> None:
    assert decode(beam.echo(encode(text, DEFAULT)), DEFAULT) == [ord(character) for character in text]
