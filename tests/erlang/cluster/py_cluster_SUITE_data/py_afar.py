"""What the nodes of a cluster are asked to do."""

from __future__ import annotations

import threading
import time

import erl


def place_after(seconds: float) -> erl.Atom:
    time.sleep(seconds)
    return erl.node()


def place_of(_item: object) -> erl.Atom:
    return erl.node()


def square_at(number: int) -> tuple[int, erl.Atom]:
    """Long enough for a node to be lost meanwhile."""
    time.sleep(0.001)
    return number * number, erl.node()


def begin_work(path: str, seconds: float) -> None:
    """Say in a file that it has begun, and, where it gets so far, that it has ended."""
    with open(path, "w") as file:
        file.write("begun")
    time.sleep(seconds)
    with open(path, "w") as file:
        file.write("ended")


class Counter:
    """What holds a lock can't be pickled: it stays where it was made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0

    def up(self) -> int:
        with self.lock:
            self.count += 1
        return self.count


def up(counter: Counter) -> int:
    return counter.up()


_messages: list[object] = []


def keep_messages() -> None:
    erl.set_message_handler(_messages.append)


def kept_messages() -> list[object]:
    return _messages
