"""What an interpreter does to whoever reads its port."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

from erl import api


def _write(data: bytes) -> None:
    port = api._bound()._port._out  # type: ignore[attr-defined]
    view = memoryview(data)
    while view:
        view = view[os.write(port, view) :]


def flood(frame: bytes, most_bytes: int = 1 << 40) -> None:
    """Write so many bytes of frames, straight to the port, as fast as it takes them."""
    framed = len(frame).to_bytes(4, "big") + frame
    block = framed * max(1, 1_000_000 // len(framed))
    written = 0
    while written < most_bytes:
        _write(block)
        written += len(block)


def large(size: int) -> bytes:
    return bytes(size)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def begin(to: object, seconds: float) -> float:
    """Tell that process, then sleep."""
    api.cast(to, 1)
    return sleep(seconds)


def _child(session: bool) -> int:
    """A process of C's making, which keeps all that this one has open."""
    c = ctypes.CDLL(None)
    child: int = c.fork()
    if child == 0:
        if session:
            c.setsid()
        c.sleep(60)
        c._exit(0)
    return child


def leave_child(session: bool) -> int:
    """End a second after the answer; a child keeps the pipes open."""
    child = _child(session)
    ctypes.CDLL(None).alarm(1)
    return child


def die_with_child(session: bool, note: str) -> None:
    Path(note).write_text(str(_child(session)))
    os.kill(os.getpid(), signal.SIGKILL)
