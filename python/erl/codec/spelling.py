"""Terms without parts, and lists of numbers, spelled in the external term format. Pure functions of their arguments."""

from __future__ import annotations

from math import isfinite
from struct import Struct

from erl import errors
from erl.codec import runs, tags
from erl.terms import MAX_ATOM_CHARACTERS
from erl.values import callout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_MAX_STRING: Final = 65535

_tagged_u8 = Struct(">BB").pack
_tagged_u16 = Struct(">BH").pack
_tagged_u32 = Struct(">BI").pack


def big(value: int, size: int) -> bytes:
    """An integer whose magnitude has `size` bytes, as SMALL_BIG_EXT or LARGE_BIG_EXT."""
    head = _tagged_u8(tags.SMALL_BIG, size) if size <= 255 else _tagged_u32(tags.LARGE_BIG, size)
    return head + bytes((value < 0,)) + abs(value).to_bytes(size, "little")


def atom(name: str, latin1: bool) -> bytes:
    """An atom; `latin1` prefers ATOM_EXT, the one that ErlPort writes."""
    if len(name) > MAX_ATOM_CHARACTERS:
        raise errors.EncodeError(f"an atom of {len(name)} characters: {MAX_ATOM_CHARACTERS} is the most")
    try:
        if latin1 and max(map(ord, name), default=0) <= 255:
            return _tagged_u16(tags.ATOM, len(name)) + name.encode("latin-1")
        encoded = name.encode()
    except UnicodeEncodeError:
        raise errors.EncodeError(f"the atom {name!r} has a lone surrogate") from None
    if len(encoded) <= 255:
        return _tagged_u8(tags.SMALL_ATOM_UTF8, len(encoded)) + encoded
    return _tagged_u16(tags.ATOM_UTF8, len(encoded)) + encoded


def binary(string: str) -> bytes:
    """A `str` as a binary in UTF-8. Raises `EncodeError` for a lone surrogate."""
    try:
        encoded = string.encode()
    except UnicodeEncodeError:
        shown = callout.shown(string)
        raise errors.EncodeError(f"{shown} has a lone surrogate, so it can't be a binary in UTF-8") from None
    return _tagged_u32(tags.BINARY, len(encoded)) + encoded


def code_points(string: str) -> bytes:
    """A `str` as a list of code points: STRING_EXT where Latin-1 and 65,535 characters suffice, as Erlang writes it."""
    size = len(string)
    if size <= _MAX_STRING:
        if not size:
            return b"j"
        try:
            return _tagged_u16(tags.STRING, size) + string.encode("latin-1")
        except UnicodeEncodeError:
            pass
    buffer = bytearray(_tagged_u32(tags.LIST, size))
    points = string.encode("utf-32-be", "surrogatepass")
    runs.append_column(buffer, points, tags.INTEGER, runs.INTEGER_BYTES)
    buffer.append(tags.NIL)
    return bytes(buffer)


def _append_bytes(buffer: bytearray, elements: bytes) -> None:
    """A list of integers from 0 to 255."""
    if len(elements) <= _MAX_STRING:
        buffer += _tagged_u16(tags.STRING, len(elements))
        buffer += elements
        return
    buffer += _tagged_u32(tags.LIST, len(elements))
    runs.append_column(buffer, elements, tags.SMALL_INTEGER, 2)
    buffer.append(tags.NIL)


def append_numbers(buffer: bytearray, items: tuple[Any, ...]) -> bool:
    """Write a list of integers or one of floats in whole; False where it is neither, or too short to gain."""
    count = len(items)
    first = type(items[0])
    if first is int:
        if not {int}.issuperset(map(type, items)):
            return False
        if 0 <= items[0] <= 255 and 0 <= items[-1] <= 255:
            try:
                elements = bytes(items)
            except ValueError:
                pass
            else:
                _append_bytes(buffer, elements)
                return True
        if count < runs.MIN_LENGTH:
            return False
        start = len(buffer)
        buffer += _tagged_u32(tags.LIST, count)
        try:
            runs.append_integers(buffer, items)
        except OverflowError:
            del buffer[start:]
            return False
    elif first is float and count >= runs.MIN_LENGTH:
        if not {float}.issuperset(map(type, items)) or not all(map(isfinite, items)):
            return False
        buffer += _tagged_u32(tags.LIST, count)
        runs.append_floats(buffer, items)
    else:
        return False
    buffer.append(tags.NIL)
    return True
