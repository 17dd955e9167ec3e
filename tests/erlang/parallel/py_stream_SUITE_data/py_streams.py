"""What is streamed in the tests."""

import asyncio
import contextvars
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

begun = 0
"""How many items `counting` has been asked for."""

context = contextvars.ContextVar("context", default=0)


def count(most: int) -> Iterator[int]:
    yield from range(most)


async def count_async(most: int) -> AsyncIterator[int]:
    for number in range(most):
        await asyncio.sleep(0)
        yield number


class Countdown:
    """An iterator that is no generator."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.left == 0:
            raise StopIteration
        self.left -= 1
        return self.left


class Indexed:
    """What can be iterated by its indexes alone."""

    def __getitem__(self, index: int) -> int:
        return [1, 2, 3][index]


def counting() -> Iterator[int]:
    global begun
    begun = 0
    while True:
        begun += 1
        yield begun


async def counting_async() -> AsyncIterator[int]:
    for number in counting():
        yield number


def progress() -> int:
    return begun


def values() -> Iterator[object]:
    yield "a"
    yield {"a": "b"}
    yield b"c"


def echo(*items: object) -> Iterator[object]:
    for item in items:
        yield repr(item)


def marked(path: str, most: int) -> Iterator[int]:
    """Says in a file that its `finally` has run."""
    try:
        yield from range(most)
    finally:
        mark(path)


async def marked_async(path: str, most: int) -> AsyncIterator[int]:
    try:
        for number in range(most):
            await asyncio.sleep(0)
            yield number
    finally:
        await asyncio.sleep(0)
        mark(path)


def stuck(path: str) -> Iterator[int]:
    """Gives an item, then nothing for a minute."""
    try:
        yield 1
        time.sleep(60)
    finally:
        mark(path)


async def stuck_async(path: str) -> AsyncIterator[int]:
    try:
        yield 1
        await asyncio.sleep(60)
    finally:
        mark(path)


def mark(path: str) -> None:
    with open(path, "a") as file:
        file.write("finally\n")


def raising(most: int) -> Iterator[int]:
    yield from range(most)
    raise ValueError("half way")


async def raising_async(most: int) -> AsyncIterator[int]:
    for number in range(most):
        yield number
    raise ValueError("half way")


def leaving(most: int) -> Iterator[int]:
    yield from range(most)
    raise SystemExit(3)


def bad_finally() -> Iterator[int]:
    try:
        yield from range(1000)
    finally:
        raise ValueError("finally")


def unencodable(most: int) -> Iterator[object]:
    yield from range(most)
    cyclic: list[object] = []
    cyclic.append(cyclic)
    yield cyclic


def waiting(path: str) -> Iterator[str]:
    """Gives an item when the file is there."""
    while not os.path.exists(path):
        time.sleep(0.005)
    yield "here"


def slow(seconds: float, most: int) -> Iterator[float]:
    """The times at which items were made."""
    for _ in range(most):
        time.sleep(seconds)
        yield time.time()


async def own_context(most: int) -> AsyncIterator[tuple[int, bool]]:
    """How often the context was changed, and whether the task is the first item's."""
    task = asyncio.current_task()
    for _ in range(most):
        context.set(context.get() + 1)
        yield context.get(), asyncio.current_task() is task


def pids() -> Iterator[int]:
    yield os.getpid()


def letter() -> str:
    return "a"


def listed(items: Iterable[Any]) -> list[Any]:
    return list(items)


def total(items: Iterable[int]) -> int:
    return sum(items)


def nested(sources: dict[str, list[Iterable[int]]]) -> list[int]:
    return [sum(items) for items in sources["sources"]]


def first(items: Iterator[Any], most: int) -> list[Any]:
    return [next(items) for _ in range(most)]


def closed(items: Any) -> list[Any]:
    taken = [next(items)]
    items.close()
    return [taken, list(items)]


def kept(items: Any) -> Any:
    """The iterator itself, which stays."""
    return items


def caught(items: Iterator[Any]) -> list[Any]:
    """What is read, and what is raised then."""
    taken: list[Any] = []
    try:
        for item in items:
            taken.append(item)
    except Exception as error:
        return [taken, type(error).__name__, getattr(error, "class_", None), getattr(error, "reason", None)]
    return [taken, None, None, None]


def doubled(items: Iterable[int]) -> Iterator[int]:
    for item in items:
        yield 2 * item


async def doubled_async(items: Iterable[int]) -> AsyncIterator[int]:
    for item in items:
        yield 2 * item


async def doubled_later(items: AsyncIterator[int]) -> AsyncIterator[int]:
    async for item in items:
        yield 2 * item


class Session:
    """As a client's of a library: bound to the loop that it is made on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.came = 0

    async def meet(self, count: int) -> None:
        """Return when as many have come as there are in this round."""
        assert asyncio.get_running_loop() is self.loop, "attached to a different loop"
        self.came += 1
        end = -(-self.came // count) * count
        while self.came < end:
            await asyncio.sleep(0.001)


session: Any = None


async def meeting(number: int, count: int, rounds: int) -> AsyncIterator[tuple[int, int]]:
    global session
    session = session or Session()
    for turn in range(rounds):
        await session.meet(count)
        yield number, turn


async def has_the_sessions_loop() -> bool:
    return asyncio.get_running_loop() is session.loop


async def saying(number: int, times: int) -> AsyncIterator[int]:
    for turn in range(times):
        await asyncio.sleep(0.001)
        print(number)
        yield turn


async def raising_a_kind(kind: str) -> AsyncIterator[int]:
    yield 1
    raise {
        "SystemExit": SystemExit,
        "KeyboardInterrupt": KeyboardInterrupt,
        "MemoryError": MemoryError,
        "GeneratorExit": GeneratorExit,
    }[kind]("raised")
