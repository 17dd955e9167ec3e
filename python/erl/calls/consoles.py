"""Who sits before a session: where its texts go, where its input comes from, and how it is interrupted by hand."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from signal import SIGINT, default_int_handler, getsignal, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def attach(streams: Sequence[str]) -> None:
    """With `output` among them, what goes to the standard error is printed; with `input`, `input()` asks for a line."""
    if "output" in streams:
        sys.stderr = sys.stdout
    if "input" in streams:
        import builtins

        builtins.input = _asked


def _asked(prompt: object = "") -> str:
    """A line from whoever sits before the session. Raises EOFError where there is none."""
    from erl import api

    sys.stdout.flush()
    line = api.call("py_session_io", "line", [(str(prompt).encode("utf-8", "replace"))])
    if not isinstance(line, (str, bytes)) or line == "eof":
        raise EOFError
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    return text.removesuffix("\n")


@contextmanager
def interruptible() -> Iterator[None]:
    """What runs in it is interrupted by SIGINT, which is ignored elsewhere; unless user code has taken the signal."""
    before = getsignal(SIGINT)
    nested = before is default_int_handler
    if not nested:
        signal(SIGINT, default_int_handler)
    try:
        yield
    finally:
        if not nested and getsignal(SIGINT) is default_int_handler:
            signal(SIGINT, before)
