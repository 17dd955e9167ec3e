"""`sys.stdout` of a worker: what is printed goes to the BEAM as `{'P', Text}`, line by line.

It is a text stream like any other, over a `buffer` that takes bytes. What is written is kept in parts, and given away
at the end of a line; see "Re-entrance" in docs/architecture.md for who may write in the middle of that.
"""

from __future__ import annotations

import io
from _thread import get_ident

from erl import codec
from erl.values import steps

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Send = Callable[..., None]

_MOST_BYTES = 1 << 16


class Buffer(io.BufferedIOBase):
    """Collects bytes and gives them to `send`, with steps to be done at once, when it is flushed or they are many.

    `ready` is called before that, and may wait. Closing it is a flush: whoever wraps it for a while and lets the
    wrapper go, which closes it, takes nothing from the others who print.
    """

    name = "<stdout>"
    mode = "wb"

    def __init__(self, send: Send, ready: Callable[[], None], most_bytes: int) -> None:
        super().__init__()
        self._send = send
        self._ready = ready
        self._most = min(most_bytes, _MOST_BYTES)
        self.parts: list[Any] = []
        """What was written and not given away yet, always the same list: where it is empty nothing is pending."""
        self._turn = steps.Turn()
        self._length = 0
        self._own: dict[int, Buffer] = {}
        """Of threads that have one of their own."""
        if codec.Collector is not None:
            # So that no other code enters between a text and the end of its line, which `print` writes apart.
            self.write = codec.Collector(self.parts, _MOST_BYTES, self._filled).write  # type: ignore[method-assign]

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        self.flush()

    def write(self, data: Any) -> int:
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        data = bytes(data)
        if data:
            self.parts.append(data)
            self._length += len(data)
            if self._length > _MOST_BYTES:
                self._length = 0
                self._filled()
        return len(data)

    def share(self) -> None:
        """From here on a thread may have a buffer of its own (`enter`, `leave`): so lines of several don't mix."""
        own, write = self._own, self.write

        def write_apart(data: Any) -> int:
            buffer = own.get(get_ident())
            return write(data) if buffer is None else buffer.write(data)

        self.write = write_apart  # type: ignore[method-assign]

    def enter(self) -> None:
        """Give this thread a buffer of its own."""
        self._own[get_ident()] = Buffer(self._send, self._ready, self._most)

    def leave(self) -> None:
        """Take it back."""
        self._own.pop(get_ident(), None)

    def of_thread(self) -> Buffer:
        """The buffer that this thread writes to."""
        return self._own.get(get_ident(), self) if self._own else self

    def flush(self) -> None:
        """Give away what is collected, in pieces where it is much, as there is room for it."""
        mine = self.of_thread()
        if mine.parts:
            mine._give(self._ready, False)

    def give(self) -> None:
        """The same without waiting for room."""
        self._give(None, False)

    def _filled(self) -> None:
        self._give(self._ready, True)

    def _give(self, ready: Callable[[], None] | None, keeps: bool) -> None:
        """Give away all; the bytes of a character whose others are still to come are kept where that is wanted."""
        while self.parts:
            if ready is not None:
                ready()
            seen = self._turn.now
            parts = self.parts.copy()
            text, left = _piece(parts, self._most)
            if keeps and not left and (begun := _begun_character(text)):
                text, left = text[:-begun], [text[-begun:]]
                if not text:
                    return
            try:
                self._send(text, self._turn.step(seen), steps.replaced(self.parts, len(parts), left))
            except ValueError:
                if self._turn.now == seen:
                    raise  # of something else


class Stdout(io.TextIOWrapper):
    """Text on its way to a `Buffer`: at most a part of a line stays here, and nothing with compiled code."""

    def __init__(self, send: Send, ready: Callable[[], None], most_bytes: int) -> None:
        self.bytes = Buffer(send, ready, most_bytes)
        self._keeps_nothing = codec.Collector is not None
        super().__init__(
            self.bytes,
            encoding="utf-8",
            errors="backslashreplace",
            newline="\n",
            line_buffering=True,
            write_through=self._keeps_nothing,
        )
        self.mode = "w"  # type: ignore[misc]  # as the interpreter's own has it

    def reconfigure(self, **options: Any) -> None:
        super().reconfigure(**{**options, "line_buffering": True, "write_through": self._keeps_nothing})

    def share(self) -> None:
        """Let threads have buffers of their own: see `Buffer.share`."""
        self._keeps_nothing = True
        super().reconfigure(write_through=True)
        self.bytes.share()

    def end(self) -> None:
        """Give away what is written, without waiting for room."""
        if not self._keeps_nothing:  # it does not say whether there is something
            ready, self.bytes._ready = self.bytes._ready, _go_on
            try:
                super().flush()
            finally:
                self.bytes._ready = ready
        mine = self.bytes.of_thread()
        if mine is not self.bytes and mine.parts:
            mine.give()
        if self.bytes.parts:
            self.bytes.give()


def _go_on() -> None:
    """Where nobody waits."""


def _begun_character(text: bytes) -> int:
    """How many bytes at the end are the start of a character that is not complete, in UTF-8."""
    for count in range(1, min(4, len(text) + 1)):
        byte = text[-count]
        if byte & 0xC0 != 0x80:
            needed = (
                2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4 if byte & 0xF8 == 0xF0 else 1
            )
            return count if needed > count else 0
    return 0


def _piece(parts: list[Any], most: int) -> tuple[bytes, list[Any]]:
    """As much of the parts as goes into one message, without a part of a character; and the rest."""
    taken: list[Any] = []
    size = 0
    for number, part in enumerate(parts):
        if size + len(part) > most:
            cut = most - size
            view = memoryview(part)
            while cut > 0 and view[cut] & 0xC0 == 0x80 and most - size - cut < 3:
                cut -= 1
            if cut or taken:
                rest = [view[cut:], *parts[number + 1 :]]
                return b"".join([*taken, view[:cut]]), rest
            return bytes(view[:most]), [view[most:], *parts[number + 1 :]]
        taken.append(part)
        size += len(part)
    return b"".join(taken), []
