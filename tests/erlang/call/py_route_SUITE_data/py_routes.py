"""What encoded calls run on their way through workers and nodes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import erl


def note(path: str, text: object = "x") -> int:
    """A line in a file, in one write; whose process wrote it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)
    return os.getpid()


def note_and_sleep(path: str, seconds: float) -> int:
    pid = note(path)
    time.sleep(seconds)
    return pid


def end_when(path: str) -> None:
    """Die as soon as there is such a file."""
    while not Path(path).exists():
        time.sleep(0.001)
    os._exit(3)


def atom(name: str) -> erl.Atom:
    return erl.Atom(name)


def spelt(value: object) -> tuple[str, str]:
    return type(value).__name__, str(value)
