"""Waiting in tests: for what must become so, and not for a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def eventually(is_so: Callable[[], object], seconds: float = 20.0) -> None:
    """Look again and again until it is so; fail where it does not become so in time."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
