"""A function that is fast, and that for some arguments never comes back."""

from __future__ import annotations

import os
import threading
import time
from typing import Any


def until(file: str) -> None:
    """Come back when there is such a file."""
    while not os.path.exists(file):
        time.sleep(0.01)  # the pause between two looks


def lose_standard_error() -> None:
    """Have descriptors 1 and 2 lead nowhere, as a daemon does."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


class Endless:
    """Pickling it takes for ever."""

    def __reduce__(self) -> Any:
        time.sleep(600)  # for ever: its worker is killed before
        return int, ()


def number(what: object) -> object:
    """The number itself; of a name, what it stands for."""
    if what == "sleeps":
        time.sleep(600)  # for ever: its worker is killed before
    if what == "computes":
        while True:
            pass
    if what == "waits":
        threading.Lock().acquire()
        threading.Event().wait()
    if what == "encodes":
        return Endless()
    return what
