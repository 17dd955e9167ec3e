"""Standard input and output of user code as ErlPort has them: texts over the port, and nothing to read."""

from __future__ import annotations

import io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class RedirectedStdin(io.TextIOBase):
    """A standard input that is closed: `input()` raises `io.UnsupportedOperation`."""

    def __init__(self) -> None:
        self.close()

    def fileno(self) -> int:
        """Always 0."""
        return 0

    def isatty(self) -> bool:
        """Always True."""
        return True

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always False."""
        return False

    def writable(self) -> bool:
        """Always False."""
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "UTF-8"

    @property
    def mode(self) -> str:
        """Always r."""
        return "r"

    @property
    def name(self) -> str:
        """Always <stdin>."""
        return "<stdin>"


class RedirectedStdout(io.TextIOBase):
    """A standard output that hands each text to `port.write`, as the message `{'P', Text}`."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def fileno(self) -> int:
        """Always 1."""
        return 1

    def isatty(self) -> bool:
        """Always True."""
        return True

    def readable(self) -> bool:
        """Always False."""
        return False

    def seekable(self) -> bool:
        """Always False."""
        return False

    def writable(self) -> bool:
        """Always True."""
        return True

    def write(self, data: str) -> Any:
        """What `port.write` returns. Raises ValueError when closed, TypeError for what is no `str`."""
        if self.closed:
            raise ValueError("I/O operation on a closed file")
        _check(data)
        from erl.values.plain import Atom

        return self._port.write((Atom(b"P"), data))

    def writelines(self, lines: Iterable[Any]) -> Any:
        """The same for all of them at once."""
        texts = list(lines)
        for text in texts:
            _check(text)
        return self.write("".join(texts))

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "UTF-8"

    @property
    def mode(self) -> str:
        """Always w."""
        return "w"

    @property
    def name(self) -> str:
        """Always <stdout>."""
        return "<stdout>"


def _check(data: object) -> None:
    if not isinstance(data, str):
        raise TypeError(f"a str is written, not a {type(data).__name__}")
