"""What a pool preloads: notes each process that imports it, and holds some memory."""

from __future__ import annotations

import os
import random
from pathlib import Path

if "PY_WARM_NOTES" in os.environ:
    with Path(os.environ["PY_WARM_NOTES"]).open("a") as notes:
        notes.write(f"{os.getpid()}\n")

made_by = os.getpid()
held = bytearray(b"x" * 40_000_000)
kept: list[bytes] = []


def who() -> tuple[int, int, int, int]:
    """This process, its parent, its group, and the process that imported this module."""
    return os.getpid(), os.getppid(), os.getpgid(0), made_by


def variable(name: str) -> str | None:
    return os.environ.get(name)


def draw() -> float:
    return random.random()


def draw_of_numpy() -> float:
    import numpy.random

    return float(numpy.random.random())


def note(path: str, number: int) -> None:
    """Say that this call was begun, and take a millisecond."""
    import time

    with Path(path).open("a") as file:
        file.write(f"{number}\n")
    time.sleep(0.001)


def keep(size: int) -> None:
    kept.append(b"x" * size)


def fork_and_leave_a_child(seconds: float) -> int:
    """A child that keeps all descriptors; its number."""
    import time

    child = os.fork()
    if not child:
        time.sleep(seconds)
        os._exit(0)
    return child


def leave_with_a_child(seconds: float) -> None:
    """End, with a child of C code's kind that keeps the port's pipes open."""
    import ctypes

    if not ctypes.CDLL(None).fork():
        ctypes.CDLL(None).sleep(int(seconds))
        os._exit(0)
    os._exit(5)
