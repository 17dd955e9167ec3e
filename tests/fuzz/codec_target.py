"""The fuzz target: bytes that both codecs read, and a value that both write, with the same verdict.

    python codec_target.py [libFuzzer's options] CORPUS SEEDS

An input is one byte of flags, as a call has them (bit 5 asks for a message's reader in place of `decode`), and a term
without its version byte. The compiled codec is built with AddressSanitizer (see `run`), which ends the process at the
first byte that is read or written out of bounds. A difference between the two codecs ends it too. What can't be told
apart here is left to the tests: pickles are refused, because reading one that a fuzzer made would run it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))

from conftest import exact

from erl import decoders, errors, opaque
from erl.codec import Options, native, reference
from erl.terms import Atom

REFUSALS = (errors.CodecError, errors.StaleReferenceError)


class Difference(Exception):
    """Raised when the two codecs do not agree."""


def refuse_pickle(data: bytes, *, unsigned: bool = False) -> object:
    raise errors.DecodeError("no pickles here")


opaque.loads = refuse_pickle
decoders.register("point", lambda payload: ("a point", payload))
decoders.register(Atom("ok"), lambda payload: ["fine", payload])


def read(codec: Any, term: bytes, options: Options, as_call: bool) -> Any:
    if not as_call:
        return codec.decode(term, options)
    reader = codec.Reader(term)
    arity = reader.tuple_header()
    head = [reader.raw() for _ in range(min(arity, 4))]
    made, arguments = reader.flagged_args()
    reader.end()
    return arity, head, made.flags, arguments


def outcome(function: Any, *arguments: Any) -> tuple[Any, Any]:
    """The class of the refusal and None, or None and the value."""
    try:
        return None, function(*arguments)
    except REFUSALS as refusal:
        return type(refusal), None


def same(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    return one[0] is other[0] and exact(one[1]) == exact(other[1])


def test_one_input(data: bytes) -> None:
    """One execution. Raises `Difference`."""
    if not data:
        return
    options = Options.from_flags(data[0] & 31)
    as_call = bool(data[0] & 32)
    term = b"\x83" + data[1:]
    got, expected = (outcome(read, codec, term, options, as_call) for codec in (native, reference))
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
