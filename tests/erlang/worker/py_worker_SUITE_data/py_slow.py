"""A module that takes its time to import."""

from __future__ import annotations

import os
import time

_times = 0


def times_imported() -> int:
    return _times


time.sleep(float(os.environ.get("PY_SLOW_SECONDS", "1")))
_times += 1
