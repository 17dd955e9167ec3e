"""Calls that fail a few times, and count how often they are made."""

from __future__ import annotations

import os
import time


def runs(path: str | bytes) -> int:
    """How often this file was noted in, this time included."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)
    return os.stat(path).st_size


def die(path: str, times: int) -> int:
    """End the interpreter so many times."""
    if (run := runs(path)) <= times:
        os._exit(3)
    return run


def fail(path: str | bytes, times: int) -> int:
    if (run := runs(path)) <= times:
        raise FileNotFoundError(path)
    return run


def sleep(path: str, seconds: float) -> int:
    run = runs(path)
    time.sleep(seconds)
    return run
