"""What the workers of `py_released_SUITE` keep."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

kept: list[Any] = []
children: list[tuple[int, int]] = []


def keep(value: Any) -> int:
    """Keep what was sent."""
    kept.append(value)
    return len(value)


def make_and_keep(size: int) -> Any:
    """Make an array, give it, and keep a view of it."""
    import erl

    made = erl.share(bytes(size))
    kept.append(made.value)
    return made


def keep_a_part(value: Any) -> None:
    """Keep some bytes of what was sent, as another object."""
    kept.append(memoryview(value)[10:20])


def keep_in_a_cycle(value: Any) -> None:
    """Keep what was sent where only the collector of garbage finds that it is not needed."""
    import gc

    gc.disable()
    cycle: list[Any] = [value]
    cycle.append(cycle)


def collect() -> None:
    """Collect garbage."""
    import gc

    gc.enable()
    gc.collect()


def forget() -> None:
    """Keep nothing any more."""
    kept.clear()


def fork() -> int:
    """A child with all that is kept, until it is told to end."""
    until, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(until, 1)
        os._exit(0)
    os.close(until)
    children.append((child, writer))
    return child


def end_children() -> None:
    """The children end."""
    for child, writer in children:
        os.write(writer, b".")
        os.waitpid(child, 0)
        os.close(writer)
    children.clear()


def keep_some(value: Any) -> Any:
    """Keep it, let go of it, or end, as it happens."""
    chance = random.random()
    if chance < 0.3:
        kept.append(value)
    elif chance < 0.35:
        os.kill(os.getpid(), signal.SIGKILL)
    elif chance < 0.6:
        kept.clear()
    elif chance < 0.65:
        fork()
    elif chance < 0.7:
        end_children()
    return value[: len(value) // 2]
