"""What the workers of `py_shared_SUITE` do."""

from __future__ import annotations

import array
import asyncio
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import erl

kept: list[Any] = []


def content(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return bytes(range(256)) * (size // 256)


def made(kind: str, size: int) -> Any:
    """A bytes-like object of that kind."""
    kinds: dict[str, Callable[[bytes], Any]] = {
        "bytes": bytes,
        "bytearray": bytearray,
        "memoryview": memoryview,
        "array": lambda found: array.array("d", found),
    }
    return kinds[kind](content(size))


def arranged(count: int) -> Any:
    """Numbers of 64 bits."""
    import numpy

    return numpy.arange(count, dtype="<f8")


def same(value: Any) -> Any:
    """The argument."""
    return value


def name_of_type(value: Any) -> str:
    """What it came as."""
    return type(value).__name__


def is_writable(value: Any) -> bool:
    """Whether it can be written here."""
    return not memoryview(value).readonly


def second_half(value: Any) -> Any:
    """A view."""
    return value[len(value) // 2 :]


def every_second(value: Any) -> Any:
    """A view in pieces."""
    return value[::2]


def later(size: int, seconds: float, path: str) -> bytes:
    """Bytes, after a while; the file says that it has begun."""
    with open(path, "w", encoding="utf-8"):
        time.sleep(seconds)
    return content(size)


async def soon(size: int) -> bytes:
    """Bytes of a coroutine."""
    await asyncio.sleep(0.01)
    return content(size)


def keep(size: int) -> None:
    """Share bytes and tell nobody."""
    kept.append(erl.share(content(size)))


def keep_and_give(size: int) -> Any:
    """Share bytes, and keep them."""
    keep(size)
    return kept[-1]


def forget() -> None:
    """What `keep` kept goes."""
    kept.clear()


def share_and_say(size: int, to: Any) -> None:
    """Share bytes, send them to a process, and fail."""
    erl.cast(to, (erl.Atom("shared"), erl.share(content(size))))
    raise ValueError("after the cast")


def bytes_or_failure(size: int) -> bytes:
    """Bytes; `ValueError` where the size is none, after what others make is there."""
    if size < 0:
        time.sleep(0.3)
        raise ValueError("no size")
    return content(size)


def share_and_wait(size: int, to: Any) -> Any:
    """Share bytes, send them to a process, and go on as a coroutine."""
    erl.cast(to, (erl.Atom("shared"), erl.share(content(size))))
    return asyncio.sleep(60)


def send_kept_and_wait(to: Any) -> Any:
    """Send what is kept to a process, and go on as a coroutine."""
    erl.cast(to, (erl.Atom("shared"), kept[-1]))
    return asyncio.sleep(60)


def several(count: int, size: int) -> Iterator[bytes]:
    """The same bytes again and again."""
    for _ in range(count):
        yield content(size)


def joined(first: Any, second: Any) -> bytes:
    """Both, one after the other."""
    return bytes(first) + bytes(second)


def with_a_failure(size: int) -> list[Any]:
    """Bytes in a list that can't be encoded: what is behind them is too deep."""
    deep: Any = None
    for _ in range(1100):
        deep = [deep]
    return [content(size), deep]


runs: list[int] = []


def first_with(_value: Any, items: Any) -> Any:
    """The first of some items; counts that it was called."""
    runs.append(1)
    return next(items)


def count_of_runs() -> int:
    """How often `first_with` was called."""
    return len(runs)


def slow_checksum(value: Any, seconds: float) -> int:
    """The CRC of bytes that stay mapped for a while."""
    found = zlib.crc32(value)
    time.sleep(seconds)
    return found


def write(value: Any, place: int, number: int) -> None:
    """Write one element."""
    value[place] = number


def held() -> tuple[int, int]:
    """How many descriptors and how many maps of shared memory this interpreter has."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        count = sum("/shm/" in line.replace("/dev/shm/", "") for line in maps)
    return len(os.listdir("/proc/self/fd")), count


def entered(milliseconds: int) -> None:
    """Run that long while a signal's handler asks Erlang, so that other calls nest in it at any moment."""

    def handler(_signal: int, _frame: object) -> None:
        if inside[0] < 10:  # where it waits it is entered again: not until the stack is full
            inside[0] += 1
            try:
                erl.call("erlang", "abs", [-7])
            finally:
                inside[0] -= 1

    inside = [0]
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0011)
    try:
        end = time.monotonic() + milliseconds / 1000
        while time.monotonic() < end:
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def unsent() -> int:
    """How many files this process would still delete."""
    from erl import shared

    return sum(deletion() is not None for deletion in list(shared._unsent.values()))


def heeds_messages() -> None:
    """Have a handler of messages that makes nothing."""
    erl.set_message_handler(lambda _message: None)


def sends_and_waits(size: int) -> Any:
    """Send shared memory to Erlang, which sends this worker a message before it answers."""
    return erl.call("py_shared_SUITE", "messaged", [erl.shared.share(content(size))])
