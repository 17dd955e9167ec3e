"""What tasks print, kept until it is their partition's turn: `sys.stdout` of a task is its own.

There is one `sys.stdout` for a process, and several tasks may run in it, in threads. So as long as any runs, what
stands there looks by the context who it is that prints; others print where they always did.
"""

from __future__ import annotations

import io
import sys
import threading
from contextlib import contextmanager
from contextvars import ContextVar

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

_MOST_CHARS: Final = 16 << 20
"""A task that prints more is heard at once, whoever's turn it is."""

_text: ContextVar[io.StringIO | None] = ContextVar("erl.dataflow.output", default=None)
_lock = threading.RLock()
_running = 0


class _Split:
    """Stands for `sys.stdout`."""

    def __init__(self, usual: Any) -> None:
        self._usual = usual

    def write(self, text: str) -> int:
        own = _text.get()
        if own is None:
            return int(self._usual.write(text) or 0)
        if type(text) is not str:
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        own.write(text)
        if own.tell() > _MOST_CHARS:
            self._usual.write(own.getvalue())
            own.seek(0)
            own.truncate()
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _text.get() is None:
            self._usual.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)


@contextmanager
def kept() -> Iterator[io.StringIO]:
    """Keep what is printed in this context meanwhile."""
    own = io.StringIO()
    _enter()
    token = _text.set(own)
    try:
        yield own
    finally:
        _text.reset(token)
        _leave()


def _enter() -> None:
    global _running
    with _lock:
        _running += 1
        if type(sys.stdout) is not _Split:
            sys.stdout = _Split(sys.stdout)


def _leave() -> None:
    global _running
    with _lock:
        _running -= 1
        if not _running and type(sys.stdout) is _Split:
            sys.stdout = sys.stdout._usual
