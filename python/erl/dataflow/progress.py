"""A line that says how far a stage is, where a person looks: on a terminal, once it takes longer than a moment."""

from __future__ import annotations

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Final

_PATIENCE_SECONDS: Final = 0.5
_EACH_SECONDS: Final = 0.1
_WIDTH: Final = 24


class Progress:
    """Of one stage."""

    def __init__(self, name: str, what: str, count: int) -> None:
        self._text = f"{name}: {what}"[:60]
        self._count = count
        self._start = self._last = monotonic()
        self._is_shown = False
        self._stream = _terminal()

    def done(self, count: int) -> None:
        """So many of its tasks are over."""
        if self._stream is None:
            return
        now = monotonic()
        if now - self._start < _PATIENCE_SECONDS or now - self._last < _EACH_SECONDS:
            return
        self._last = now
        filled = _WIDTH * count // max(1, self._count)
        bar = "#" * filled + "." * (_WIDTH - filled)
        self._write(f"\r{self._text} [{bar}] {count}/{self._count} {now - self._start:.0f} s")
        self._is_shown = True

    def over(self) -> None:
        """Leave the line as it was."""
        if self._is_shown:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except Exception:
            self._stream = None


def _terminal() -> Any:
    stream = sys.stderr
    try:
        return stream if stream is not None and stream.isatty() else None
    except Exception:
        return None
