"""Where a term ends: a walk over the tags that makes no values, and needs no stack."""

from __future__ import annotations

from _struct import Struct  # `struct` is a file more

from erl import errors
from erl.codec import tags

_u16 = Struct(">H").unpack_from
_u32 = Struct(">I").unpack_from

_FIXED = {tags.SMALL_INTEGER: 2, tags.INTEGER: 5, tags.FLOAT: 32, tags.NEW_FLOAT: 9, tags.NIL: 1}

_AFTER_NODE = {
    tags.NEW_PID: 12,
    tags.PID: 9,
    tags.V4_PORT: 12,
    tags.NEW_PORT: 8,
    tags.PORT: 5,
    tags.REFERENCE: 5,
}
"""Bytes after the node's atom: numbers and creation."""


def end_of_term(data: bytes, position: int) -> int:
    """The position after the term that begins at `position`.

    Raises `DecodeError` for an unknown tag and for a term that ends beyond the data; may raise IndexError and
    struct.error for the latter too. A fun is passed over as a block: `leaves` looks into it.
    """
    i = position
    pending = 1
    while pending:
        pending -= 1
        tag = data[i]
        if tag in _FIXED:
            i += _FIXED[tag]
        elif tag in (tags.SMALL_ATOM_UTF8, tags.SMALL_ATOM):
            i += 2 + data[i + 1]
        elif tag == tags.BINARY:
            i += 5 + _u32(data, i + 1)[0]
        elif tag in (tags.ATOM, tags.ATOM_UTF8, tags.STRING):
            i += 3 + _u16(data, i + 1)[0]
        elif tag == tags.SMALL_TUPLE:
            pending += data[i + 1]
            i += 2
        elif tag == tags.LARGE_TUPLE:
            pending += _u32(data, i + 1)[0]
            i += 5
        elif tag == tags.LIST:
            pending += _u32(data, i + 1)[0] + 1
            i += 5
        elif tag == tags.MAP:
            pending += 2 * _u32(data, i + 1)[0]
            i += 5
        elif tag == tags.SMALL_BIG:
            i += 3 + data[i + 1]
        elif tag == tags.LARGE_BIG or tag == tags.BIT_BINARY:
            i += 6 + _u32(data, i + 1)[0]
        elif tag in _AFTER_NODE:
            i = end_of_atom(data, i + 1) + _AFTER_NODE[tag]
        elif tag in (tags.NEWER_REFERENCE, tags.NEW_REFERENCE):
            creation_bytes = 4 if tag == tags.NEWER_REFERENCE else 1
            i = end_of_atom(data, i + 3) + creation_bytes + 4 * _u16(data, i + 1)[0]
        elif tag == tags.EXPORT:
            pending += 3
            i += 1
        elif tag == tags.NEW_FUN:
            i += 1 + _u32(data, i + 1)[0]
        elif tag == tags.FUN:
            pending += 4 + _u32(data, i + 1)[0]
            i += 5
        else:
            raise errors.DecodeError(f"unknown tag {tag} at byte {i}")
    if i > len(data):
        raise errors.DecodeError("truncated: a term ends beyond the frame")
    return i


def end_of_atom(data: bytes, position: int) -> int:
    """The position after an atom; DecodeError where something else stands."""
    tag = data[position]
    if tag in (tags.SMALL_ATOM_UTF8, tags.SMALL_ATOM):
        return position + 2 + data[position + 1]
    if tag in (tags.ATOM, tags.ATOM_UTF8):
        return position + 3 + int(_u16(data, position + 1)[0])
    raise errors.DecodeError(f"an atom was expected at byte {position}, not tag {tag}")
