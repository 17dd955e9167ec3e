"""What of Python's own this package needs as it is: user code may replace it everywhere, to test or to patch itself.

freezegun replaces functions of `time` in all modules that have them, gevent and eventlet those of `time`, `_thread` and
`select` in the modules that they come from. What an object of this module holds they don't find.
"""

from __future__ import annotations

import _thread
import time

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any


class Clock:
    """`time.monotonic` and `time.perf_counter`."""

    monotonic = staticmethod(time.monotonic)
    perf_counter = staticmethod(time.perf_counter)


start_thread = _thread.start_new_thread


def release(lock: Any) -> None:
    """Release a lock that may be released already."""
    try:
        lock.release()
    except RuntimeError:
        return
