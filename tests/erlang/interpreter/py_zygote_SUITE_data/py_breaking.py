"""A module that has its process end as soon as it has forked."""

from __future__ import annotations

import os


def _break(_pid: int, _flags: int = 0) -> int:
    raise OSError("no such call")


os.pidfd_open = _break
