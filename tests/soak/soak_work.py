"""What the callers of the soak test have done in Python."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

import erl
from erl import api

_log = logging.getLogger("soak")


class Box:
    """Holds a number, and can't be pickled: Erlang gets a reference."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = threading.Lock()

    def value(self) -> int:
        with self.lock:
            return self.number


def note(path: str, token: int) -> int:
    """Append the token to the file, in one step for all processes that do, and return it."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, token.to_bytes(8, "big"))
    finally:
        os.close(fd)
    return token


def fail(number: int) -> None:
    raise ValueError(f"soak {number}")


def twice(number: int) -> Any:
    """By way of Erlang."""
    return erl.call("py_soak_load", "twice", [number])


def nest(depth: int) -> Any:
    """A call that Erlang makes of Python while this one waits, this many levels deep; the sum of the levels."""
    if depth == 0:
        return 0
    inner = erl.call("py_soak_load", "nested", [depth - 1])
    return None if inner is None else depth + inner


def say(token: int) -> int:
    sys.stdout.write(f"soak {token}\n")  # in one step: handlers of other calls print, too
    return token


def log(token: int) -> int:
    _log.warning("soak %d", token)
    return token


def write_junk(data: bytes) -> int:
    """Bytes that are none of the server's, between its frames."""
    server: Any = api._bound()
    return os.write(server._port._out, data)


def shared(number: int, size: int) -> bytes:
    """As many bytes of that value; large ones are shared by the options of the call."""
    return bytes([number]) * size


def several(number: int, size: int) -> Iterator[bytes]:
    """The same without an end."""
    while True:
        yield shared(number, size)


def held() -> int:
    """How many objects are kept for Erlang."""
    from erl.calls import references

    return references.held()
