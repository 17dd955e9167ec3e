"""A BEAM to ask about terms, and values compared to the last type."""

from __future__ import annotations

import struct
import subprocess
from collections import ChainMap, UserDict
from pathlib import Path
from typing import Any

from erl.haystack import Grid, Uri
from erl.terms import ImproperList
from erl.values import plain

_SECONDS_TO_END = 10


class Beam:
    """A running BEAM that answers questions about terms (`term_server.escript`)."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("term_server.escript")
        self._process = subprocess.Popen(
            ["escript", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=-1
        )

    def ask(self, operation: str, operand: bytes) -> bytes:
        """The answer; ValueError with Erlang's reason where it refuses the operand."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        pipe_in.write(struct.pack(">I", len(operand) + 1) + operation.encode() + operand)
        pipe_in.flush()
        (size,) = struct.unpack(">I", pipe_out.read(4))
        answer = pipe_out.read(size)
        if answer[:1] == b"-":
            raise ValueError(answer[1:].decode())
        return answer[1:]

    def echo(self, term: bytes, spelling: str = "t") -> bytes:
        """The term as Erlang writes it; `spelling` is an operation of the script's: t, 0, 2 or z."""
        return self.ask(spelling, term)

    def same(self, one: bytes, other: bytes) -> bool:
        """Whether Erlang holds the two for the same term (`=:=`)."""
        return self.ask("=", struct.pack(">I", len(one)) + one + other) == b"true"

    def evaluate(self, text: str) -> bytes:
        """The term of an Erlang expression, which ends in a full stop."""
        return self.ask("e", text.encode())

    def text(self, term: bytes) -> str:
        """The term as `~tw` prints it."""
        return self.ask("p", term).decode()

    def end(self) -> None:
        """Close its input and wait for it; a BEAM that stays is killed, by its own pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def exact(value: Any) -> Any:
    """Something to compare that tells apart what `==` does not: types at every depth, signs of zero, kinds
    of NaN.
    """
    kind = type(value)
    if kind is float or kind is complex:
        return kind, repr(value)
    if kind in (list, tuple, plain.List):
        return kind, [exact(item) for item in value]
    if kind in (ImproperList, plain.ImproperList):
        return kind, [exact(item) for item in value], exact(value.tail)
    if isinstance(value, (dict, UserDict, ChainMap)):
        pairs = [(exact(key), exact(item)) for key, item in value.items()]
        return kind, sorted(pairs, key=repr)
    if kind in (set, frozenset):
        return kind, sorted((exact(item) for item in value), key=repr)
    if kind.__module__ == "erl.haystack.values" and kind is not Uri:
        return kind, [exact(getattr(value, name)) for name in kind.__slots__]
    if kind is Grid:
        cols = [(exact(col.name), exact(dict(col.meta))) for col in value.cols]
        return kind, exact(dict(value.meta)), cols, exact([list(row.cells) for row in value])
    if kind.__module__.partition(".")[0] == "numpy":
        return kind, repr(value.dtype), value.shape, value.tobytes()
    if hasattr(value, "tzinfo"):
        return kind, value, repr(value.tzinfo)
    return kind, repr(value) if kind.__name__ == "Decimal" else value
