"""ErlPort's `erlport.stdio`: what stands for standard input and output where ErlPort's mapping holds."""

from __future__ import annotations

import sys

from erl.runtime.redirected import RedirectedStdin, RedirectedStdout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["RedirectedStdin", "RedirectedStdout", "redirect"]


def redirect(port: Any) -> None:
    """Have standard input closed and standard output written to `port`."""
    sys.stdin = RedirectedStdin()
    sys.stdout = RedirectedStdout(port)
