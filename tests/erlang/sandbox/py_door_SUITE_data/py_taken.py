"""An interpreter that was taken over: it says what it is told to."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_ID = b"b\x7a\x7a\x7a\x7a"
"""Stands for the number of the call that runs (INTEGER_EXT)."""


def say(frames: list[bytes]) -> str:
    """Write these frames past everything that would have looked at them."""
    from erl import api

    server: Any = api._bound()
    own = b"b" + struct.pack(">I", server.running)
    for frame in frames:
        said = frame.replace(_ID, own)
        write(struct.pack(">I", len(said)) + said)
    return "said"


def write(data: bytes) -> None:
    from erl import api

    server: Any = api._bound()
    view = memoryview(data)
    while view:
        view = view[os.write(server._port._out, view) :]


def items(frames: list[bytes]) -> Iterator[int]:
    """A stream whose first batch is answered so."""
    say(frames)
    yield 1


class Iterable:
    """What a stream of it begins with is said in place of the stream."""

    def __init__(self, frames: list[bytes]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[int]:
        say(self._frames)
        return iter([1])


def iterable(frames: list[bytes]) -> Iterable:
    return Iterable(frames)


def item(frames: list[bytes]) -> int:
    say(frames)
    return 1


def start(frames: list[bytes]) -> None:
    """For `on_start`."""
    say(frames)


def stay(frames: list[bytes]) -> None:
    say(frames)
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


class Red:
    def __repr__(self) -> str:
        return "\x1b[31mred"


def red() -> Red:
    return Red()
