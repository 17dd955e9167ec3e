"""What the workers do in the tests of parallel calls. Every errand leaves a line in a file."""

import os
import time

KEPT = ValueError("kept")


def run(errand: tuple) -> int:
    """`(file, number, milliseconds)`: note the number, take the time, return the number."""
    path, number, milliseconds = errand
    note(path, number)
    time.sleep(milliseconds / 1000)
    return number


def run_three(path: str, number: int, milliseconds: int) -> int:
    """The same with three arguments."""
    return run((path, number, milliseconds))


def fail_at(errand: tuple) -> int:
    """`(file, number, milliseconds, bad)`: the same, but the number `bad` fails."""
    path, number, milliseconds, bad = errand
    run((path, number, milliseconds))
    return 1 // (number - bad)


def note(path: str, number: int) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{number}\n")


def meet(directory: str, name: str, other: str) -> str:
    """Return when the other is here, too."""
    with open(os.path.join(directory, name), "w", encoding="utf-8"):
        pass
    end = time.monotonic() + 20
    while not os.path.exists(os.path.join(directory, other)):
        if time.monotonic() > end:
            raise TimeoutError(other)
        time.sleep(0.001)
    return name


def say(number: int) -> None:
    print("item", number)


def stop(number: int) -> int:
    """What looks like the end of an iteration must not end one."""
    if number == 3:
        raise StopIteration("three")
    return number


def raise_kept(_item: object = None) -> None:
    raise KEPT


def die_once(errand: tuple) -> int:
    """`(file, number)`: number 5 takes its interpreter along, the first time that it is asked for."""
    path, number = errand
    if number == 5 and not os.path.exists(path):
        note(path, number)
        os._exit(3)
    return number


def kind(value: object) -> str:
    return type(value).__name__


def join(left: object, right: object) -> object:
    """Associative, and not commutative."""
    if type(left) is not type(right):
        raise TypeError(f"{left!r} and {right!r}")
    return left + right


class Box:
    """What can't be pickled, so it stays where it is."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> str:
        raise TypeError("a box stays")


def box(value: int) -> Box:
    return Box(value)


def value_of(boxed: Box) -> int:
    return boxed.value


async def rest(item: tuple) -> float:
    """Sleep so many seconds, or fail."""
    import asyncio

    number, seconds = item
    await asyncio.sleep(seconds)
    return 1 / number


async def made(number: int) -> object:
    """What can't be pickled."""
    import threading

    lock = threading.Lock()
    return type("Made", (), {"number": number, "lock": lock})()
