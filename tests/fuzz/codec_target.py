"""The fuzz target: bytes that both codecs read, and a value that both write, with the same verdict.

    python codec_target.py [libFuzzer's options] CORPUS SEEDS

An input is one byte and a term without its version byte. The byte holds the flags of a call; its bit 5 asks for a
message's reader in place of `decode`, bit 6 for arguments that begin with flags of their own, and bit 7 for Haystack's
forms. The compiled codec is built with AddressSanitizer (see `run`), which ends the process at the first byte that is
read or written out of bounds.
A difference between the two codecs ends it too. What can't be told apart here is left to the tests: pickles are
refused, because reading one that a fuzzer made would run it.
"""

from __future__ import annotations

import sys
from collections import ChainMap, UserDict
from typing import Any

import atheris

from erl import decoders, errors
from erl.codec import Options, native, reference
from erl.codec.options import HAYSTACK
from erl.haystack import Grid
from erl.terms import Atom, ImproperList
from erl.values.opaque import Pickles

REFUSALS = (errors.CodecError, errors.StaleReferenceError)


class Difference(Exception):
    """Raised when the two codecs do not agree."""


def refuse_pickle(_self: Pickles, data: bytes, *, unsigned: bool = False) -> object:
    raise errors.DecodeError("no pickles here")


Pickles.loads = refuse_pickle  # type: ignore[method-assign]
decoders.register("point", lambda payload: ("a point", payload))
decoders.register(Atom("ok"), lambda payload: ["fine", payload])
decoders.register(Atom("é"), lambda payload: ("é", payload))


def read_call(codec: Any, term: bytes, options: Options, flagged: bool) -> Any:
    """All that a reader gives of a message that may be a call."""
    reader = codec.Reader(term)
    head = reader.call_head()
    if head is None:
        head = reader.tuple_header()
        head = [head, reader.raw()]
    if flagged:
        own, arguments = reader.flagged_args()
        arguments.append(own.flags)
    else:
        arguments = reader.args(options)
    reader.end()
    return [head, arguments]


def outcome(function: Any, *arguments: Any) -> tuple[Any, Any]:
    """The class of the refusal and None, or None and the value."""
    try:
        return None, function(*arguments)
    except REFUSALS as refusal:
        return type(refusal), None


def same(one: Any, other: Any) -> bool:
    """Whether the two are equal with all their types, in the same order. Takes no longer than they are large."""
    kind = type(one)
    if kind is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        tails = kind is not ImproperList or same(one.tail, other.tail)
        return tails and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (dict, UserDict, ChainMap)):
        return same(list(one.items()), list(other.items()))
    if kind is Grid:
        parts = (
            [dict(grid.meta), *map(repr, grid.cols), *(row.cells for row in grid)] for grid in (one, other)
        )
        return same(*parts)
    if isinstance(one, (set, frozenset)):
        return same(sorted(one, key=repr), sorted(other, key=repr))
    return repr(one) == repr(other)


def test_one_input(data: bytes) -> None:
    """One execution. Raises `Difference`."""
    if not data:
        return
    options = Options.from_flags(data[0] & 31 | (HAYSTACK if data[0] & 128 else 0))
    term = b"\x83" + data[1:]
    if data[0] & 32:
        got, expected = (
            outcome(read_call, codec, term, options, data[0] & 64) for codec in (native, reference)
        )
    else:
        got, expected = (outcome(codec.decode, term, options) for codec in (native, reference))
    if not same(got, expected):
        raise Difference(f"read {term!r} as {got!r}, not {expected!r}")
    if got[0] is not None:
        return
    written, wanted = (outcome(codec.encode, got[1], options) for codec in (native, reference))
    if written == wanted:
        return
    if written[0] is not wanted[0]:
        raise Difference(f"wrote {got[1]!r} as {written!r}, not {wanted!r}")
    if not same(outcome(native.decode, written[1], options), outcome(reference.decode, wanted[1], options)):
        raise Difference(f"wrote {got[1]!r} as another term: {written!r}, not {wanted!r}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
