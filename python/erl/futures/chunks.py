"""Chunks of `map`: many items are one task, and each item keeps what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class Broken(Exception):
    """What a function raised for an item of a chunk, with the results of those before it."""

    def __init__(self, results: list[Any], error: BaseException) -> None:
        super().__init__(results, error)
        self.results = results
        self.error = error


def run(function: Callable[..., Any], rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The function's results for these arguments, in order. Raises `Broken` at the first that fails."""
    results: list[Any] = []
    add = results.append
    try:
        for row in rows:
            add(function(*row))
    except Exception as error:
        if not results:
            raise
        raise Broken(results, error) from error
    return results


def size(items: int, workers: int) -> int:
    """How many items are one chunk where nobody has said: 64 chunks for each worker, 10,000 items at the most."""
    return max(1, min(10_000, items // (64 * workers)))


def cut(rows: Iterable[tuple[Any, ...]], size: int) -> Iterable[list[tuple[Any, ...]]]:
    """Lists of so many rows, the last one shorter."""
    from itertools import islice

    left = iter(rows)
    while chunk := list(islice(left, size)):
        yield chunk
