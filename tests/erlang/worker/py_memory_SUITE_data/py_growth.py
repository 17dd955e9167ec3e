"""Functions that grow until there is no memory left, each in a way of its own."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import importlib.util
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import erl

KEPT: list[Any] = []
HANDLED: list[Any] = []


def objects() -> int:
    """A list of small objects."""
    grown = []
    while True:
        grown.append(object())


def texts() -> int:
    """Where the last does not fit, the frame's object does not either, and CPython 3.11 forgets the exception."""
    grown = []
    while True:
        grown.append(str(len(grown)) * 50)


def dictionary() -> int:
    grown = {}
    number = 0
    while True:
        grown[number] = str(number)
        number += 1


def text() -> int:
    grown = "x"
    while True:
        grown += grown[: 1 << 20]


def byte_array() -> int:
    grown = bytearray()
    while True:
        grown += bytes(100_000)


def deep() -> int:
    grown: Any = None
    while True:
        grown = [grown]


def array() -> int:
    import numpy as np

    grown = []
    while True:
        grown.append(np.ones(10_000))


def one_array() -> int:
    import numpy as np

    return len(np.ones(1 << 34))


def recursion(depth: int = 0) -> int:
    held = [object() for _ in range(5000)]
    return recursion(depth + 1) + len(held)


class Cell:
    """Its end needs memory, too."""

    def __init__(self) -> None:
        self.held = bytes(4000)

    def __del__(self) -> None:
        bytearray(20_000)


def finalizers() -> int:
    grown = []
    while True:
        grown.append(Cell())


def cycles() -> int:
    """Objects that only the collector of garbage can free, and that keep each other."""
    last: Any = None
    while True:
        last = [last, {}]
        last[1]["self"] = last


def chained() -> int:
    """The exception that arrives holds another, whose frames hold what has grown."""
    try:
        objects()
    except MemoryError:
        grown = bytearray(20_000)
        raise RuntimeError(f"{len(grown)} more") from None


def caused() -> int:
    try:
        objects()
    except MemoryError as error:
        raise ValueError("why") from error
    return 0


def grouped() -> int:
    try:
        objects()
    except MemoryError as error:
        raise group("several", [ValueError("one"), error]) from None
    return 0


group: Any = getattr(builtins, "ExceptionGroup", lambda text, errors: errors[1])


def kept() -> int:
    """What has grown stays."""
    while True:
        KEPT.append(object())


def let_go() -> int:
    count = len(KEPT)
    KEPT.clear()
    return count


class Shown:
    """An exception's argument whose text grows."""

    def __str__(self) -> str:
        return str(objects())

    __repr__ = __str__


def shown() -> int:
    raise ValueError(Shown())


class Reduced:
    """What grows while the answer is encoded."""

    def __reduce__(self) -> Any:
        objects()


def reduced() -> Any:
    return Reduced()


def in_a_thread() -> int:
    """Grows in a thread while the call grows, too."""
    thread = threading.Thread(target=_quietly, args=[objects])
    thread.start()
    try:
        return objects()
    finally:
        thread.join()


def _quietly(function: Callable[[], object]) -> None:
    with contextlib.suppress(MemoryError):
        function()


def large_result(most: int) -> Any:
    """There is room for the value, not for its term."""
    value = bytes(4096)
    return [value] * (most // 100)


def slowly() -> int:
    """Stays near the limit for a while."""
    grown = []
    with contextlib.suppress(MemoryError):
        while True:
            grown.append(bytes(100_000))
    until = time.monotonic() + 1
    while time.monotonic() < until:
        pass
    return objects() + len(grown)


def size(value: bytes) -> int:
    return len(value)


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def argument(values: list[Any]) -> int:
    """What is given grows."""
    while True:
        values.append(object())


def calls_back() -> Any:
    """A call that waits for Erlang, where another one grows."""
    return erl.call("py_memory_SUITE", "grow_in_the_same_worker", [erl.self()])


def grows_after_a_callback() -> int:
    erl.call("lists", "sum", [[1, 2]])
    return objects()


def handle(message: Any) -> None:
    HANDLED.append(message)
    objects()


def handled() -> int:
    return len(HANDLED)


def set_handler() -> None:
    erl.set_message_handler(handle)


def each(item: int) -> int:
    return objects() if item == 50 else item


def items() -> Iterator[int]:
    yield 1
    yield 2
    yield objects()


async def items_later() -> AsyncIterator[int]:
    yield 1
    yield 2
    yield objects()


async def later(name: str) -> Any:
    await asyncio.sleep(0)
    return globals()[name]()


async def later_in_a_task(name: str) -> Any:
    return await asyncio.ensure_future(later(name))


async def later_in_the_executor(name: str) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, globals()[name])


async def sleep(seconds: float, value: Any) -> Any:
    await asyncio.sleep(seconds)
    return value


def echo(value: Any) -> Any:
    return value
