"""Runs of numbers of one width, read and written in whole: slices with a stride instead of a step for each
element.

In a run, every element has the same tag, so the tags stand `width` bytes apart and so does each byte of the
numbers.
"""

from __future__ import annotations

import sys
from math import isfinite

from erl import errors
from erl.codec import tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MIN_LENGTH: Final = 16
"""Shorter runs are not worth the set-up."""

INTEGER_BYTES: Final = 5
FLOAT_BYTES: Final = 9

_WINDOW: Final = 64
_SWAP: Final = sys.byteorder == "little"


def length(data: bytes, position: int, width: int, count: int) -> int:
    """How many of the next `count` elements have the tag of the first one; 0 where that is not worth a run."""
    tag = data[position : position + 1]
    if data[position : position + width * MIN_LENGTH : width] != tag * MIN_LENGTH:
        return 0
    found, window = 0, _WINDOW
    while found < count:
        expected = min(window, count - found)
        at = position + found * width
        seen = data[at : at + expected * width : width]
        same = len(seen) - len(seen.lstrip(tag))
        found += same
        if same < expected:
            break
        window *= 8
    if position + found * width > len(data):
        raise errors.DecodeError("truncated: a list ends beyond the frame")
    return found


def integers(data: bytes, position: int, count: int) -> list[int]:
    """The values of `count` INTEGER_EXT that follow one another."""
    from array import array

    column = array("i", _column(data, position, count, INTEGER_BYTES))
    if _SWAP:
        column.byteswap()
    return column.tolist()


def floats(data: bytes, position: int, count: int) -> list[float]:
    """The values of `count` NEW_FLOAT_EXT that follow one another. Raises `DecodeError` for NaN and
    infinity.
    """
    from array import array

    column = array("d", _column(data, position, count, FLOAT_BYTES))
    if _SWAP:
        column.byteswap()
    values = column.tolist()
    if not all(map(isfinite, values)):
        raise errors.DecodeError("a float that is not finite")
    return values


def append_integers(buffer: bytearray, values: list[int] | tuple[int, ...]) -> None:
    """Append each value as INTEGER_EXT (Erlang reads a small one there too). OverflowError beyond 32 bits."""
    from array import array

    column = array("i", values)
    if _SWAP:
        column.byteswap()
    append_column(buffer, column.tobytes(), tags.INTEGER, INTEGER_BYTES)


def append_floats(buffer: bytearray, values: list[float] | tuple[float, ...]) -> None:
    """Append each value, all finite, as NEW_FLOAT_EXT."""
    from array import array

    column = array("d", values)
    if _SWAP:
        column.byteswap()
    append_column(buffer, column.tobytes(), tags.NEW_FLOAT, FLOAT_BYTES)


def append_column(buffer: bytearray, numbers: bytes, tag: int, width: int) -> None:
    """Append big-endian numbers, each after its tag; `width` is the size of both in bytes."""
    size = width - 1
    elements = bytearray(len(numbers) // size * width)
    elements[0::width] = bytes((tag,)) * (len(numbers) // size)
    for byte in range(size):
        elements[byte + 1 :: width] = numbers[byte::size]
    buffer += elements


def _column(data: bytes, position: int, count: int, width: int) -> bytes:
    """The numbers of a run without their tags."""
    size = width - 1
    numbers = bytearray(count * size)
    end = position + count * width
    for byte in range(size):
        numbers[byte::size] = data[position + byte + 1 : end : width]
    return bytes(numbers)
