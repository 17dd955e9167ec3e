"""What the workers do in the benchmark."""

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
