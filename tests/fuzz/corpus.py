"""Seeds for the fuzz target: the golden vectors, and frames of calls with every kind of value.

python corpus.py DIRECTORY
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erl.codec import Options, reference
from erl.terms import Atom, BitString, ImproperList, Map, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = Path(__file__).parents[1] / "vectors"
AS_CALL = 32
FLAGGED = 64
HAYSTACK = 128

VALUES: list[Any] = [
    [0, 255, 256, -1, 2**31, -(2**63), 2**64, 10**100, -(10**700)],
    [1.5, -0.0, float("nan"), float("inf")],
    ["text", "é", "ключ", "", b"bytes", Atom("atom"), Atom("é"), None, True],
    [(), (1, 2), ("dict", 3), (Atom("ok"), 4), tuple(range(300))],
    [{}, {"a": 1, "b": {1: 2}}, {(1, "a"): [2]}, {1.5: {"k"}}],
    [list(range(400)), [float(number) for number in range(40)], list(range(-40, 400000, 9999))],
    [ImproperList([1, 2], 3), BitString(b"ab", 3), {1, 2}, frozenset("ab"), 1j, bytearray(b"x")],
    [
        (Tag("point"), 1),
        (Tag("date"), (1923, 4, 2)),
        (Tag("date"), Atom("x")),
        (Tag("timedelta"), 0, 408, 37011),
    ],
    [
        (Tag("dict"), [(1, 2), (True, 3)]),
        (Tag("set"), [1, 1.0]),
        (Tag("Counter"), [("date", (1923, 4, 2)), 7]),
    ],
    [(Atom("$erlport.opaque"), Atom("erlang"), b"\x83a\x01"), (Atom("$py.ref"), 1, 2, 3)],
]
GRID = {Atom("meta"): Map({}), Atom("cols"): ["a", Atom("b")], Atom("rows"): [[1, 2], Map({"a": 3})]}
HAYSTACK_VALUES: list[Any] = [
    [(Atom("py"), Atom("marker")), (Atom("py"), 1), (Atom("uri"), "a"), (Atom("number"), Atom("nan"), "kW")],
    [(Atom("ref"), "a", None), (Atom("coord"), 1, 2.5), (Atom("timestamp"), 1, (Tag("timezone"), 60))],
    [(Atom("grid"), Map(GRID)), (Atom("grid"), Map({})), (Atom("matrix"), 1, 1, bytes(8))],
    [(Tag("ndarray"), (Tag(">i2"), (2,), bytes(4))), (Tag("ndarray"), (Tag("O"), (1,), bytes(8)))],
    [(Tag("ndarray"), ([(Tag("a"), Tag("|S2"), (2,)), (Tag(""), Tag("|V1"), ())], (1,), bytes(5)))],
]
NESTED = [b"l\0\0\0\1", b"h\1", b"h\2k\0\4dict", b"h\2k\0\4dictl\0\0\0\1h\2a\1", b"t\0\0\0\1a\1"]


def seeds() -> Iterator[bytes]:
    """Each with its byte of flags and without the version byte."""
    for file, column in (("terms.txt", 3), ("refused.txt", 2)):
        for line in (VECTORS / file).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                cells = line.split("\t")
                flags = int(cells[column - 1])
                first = flags & 31 | (HAYSTACK if flags & 32 else 0)
                yield bytes((first,)) + bytes.fromhex(cells[column])[1:]
    for flags in (0, 1, 2, 3, 4, 7, 16):
        for value in VALUES:
            yield bytes((flags,)) + reference.encode(value, Options.from_flags(flags))[1:]
            call = (Atom("C"), 1, Atom("erl.calls.objects"), Atom("func"), [flags, *value])
            for kind in (AS_CALL, AS_CALL | FLAGGED):
                yield bytes((flags | kind,)) + reference.encode(call, Options.from_flags(flags))[1:]
    for value in HAYSTACK_VALUES:
        for flags in (0, 1, 3, 4):
            yield bytes((flags | HAYSTACK,)) + reference.encode(value, Options.from_flags(flags))[1:]
    for head in (b"d\0\1\xe9", b"s\1\xe9", b"w\2\xc3\xa9"):
        yield b"\4h\2" + head + b"a\1"
    for opening in NESTED:
        for depth in (10, 333, 500, 1001):
            yield b"\4" + opening * depth + b"j"


def main() -> None:
    """Write each seed to a file that bears its hash."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for seed in seeds():
        (directory / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
