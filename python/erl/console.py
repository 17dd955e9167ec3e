"""`sys.stdout` and `sys.stdin` of a worker: what is printed goes to the BEAM as `{'P', Text}`, line by line."""

from __future__ import annotations

import io
from _thread import RLock

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_CHARACTERS = 1 << 16


class Stdout(io.TextIOBase):
    """Collects text up to the end of a line and gives it to `send`."""

    encoding = "utf-8"
    errors = "backslashreplace"
    mode = "w"
    name = "<stdout>"

    def __init__(self, send: Callable[[str], None]) -> None:
        super().__init__()
        self._send = send
        self.parts: list[str] = []
        """What was written and not given away yet, always the same list: where it is empty nothing is pending."""
        self._length = 0
        self._lock = RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            self.parts.append(text)
            self._length += len(text)
            if "\n" in text or self._length > _MOST_CHARACTERS:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Give away what is collected; a very long text in pieces."""
        with self._lock:
            text, self._length = "".join(self.parts), 0
            self.parts.clear()
        # A lone surrogate is no character that Erlang could print.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        for start in range(0, len(text), _MOST_CHARACTERS):
            self._send(text[start : start + _MOST_CHARACTERS])
