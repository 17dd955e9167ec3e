"""What the workers do in the benchmark."""

import time
from collections.abc import Iterable, Iterator


def same(value: object) -> object:
    """The argument."""
    return value


def spin(count: int) -> int:
    """Work for the processor alone."""
    total = 0
    for number in range(count):
        total += number & 7
    return total


def numbers(most: int) -> list[int]:
    """The numbers from 1 on, at once."""
    return list(range(1, most + 1))


def count(most: int) -> Iterator[int]:
    """The same one by one."""
    number = 0
    while number < most:
        number += 1
        yield number


def total(items: Iterable[int]) -> int:
    """The sum, by a loop."""
    found = 0
    for item in items:
        found += item
    return found


def sleeps(threads: int, count: int, seconds: float) -> float:
    """How many sleeps a second so many threads make, without anything else."""
    import threading

    left = iter(range(count))

    def work() -> None:
        for _ in left:
            time.sleep(seconds)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return count / (time.perf_counter() - start)
