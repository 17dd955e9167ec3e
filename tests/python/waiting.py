"""Waiting in tests: for what must become so, and not for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def eventually(is_so: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Look again and again until it is so, and return what it is then; fail where it does not become so in time."""
    end = time.monotonic() + seconds
    while not (value := is_so()):
        assert time.monotonic() < end, "never"
        time.sleep(0.02)  # the pause between two looks
    return value
