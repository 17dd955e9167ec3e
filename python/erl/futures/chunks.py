"""Chunks of `map`: many items are one task, and each item keeps what became of it."""

from __future__ import annotations

from itertools import islice, starmap
from typing import TYPE_CHECKING, Any

from erl.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_MOST = 10_000
_CHUNKS = 32
"""For each worker: where some take longer than others, all are busy to the end."""


class Broken(Exception):
    """What a function raised for an item of a chunk, with the results of those before it."""

    def __init__(self, results: list[Any], error: BaseException) -> None:
        super().__init__(results, error)
        self.results = results
        self.error = error

    def __reduce__(self) -> Any:
        from erl.values import unpickled

        error = unpickled.portable(self.error)
        if error is None:
            name, text, _ = unpickled.error_apart(self.error)
            error = RemoteError(name, text)
        return Broken, (self.results, error)


def run(function: Callable[..., Any], items: Sequence[Any], is_rows: bool) -> list[Any]:
    """The function's results for these items, or rows of arguments. Raises `Broken` at the first that fails."""
    results: list[Any] = []
    try:
        results.extend(starmap(function, items) if is_rows else map(function, items))
    except Exception as error:
        if not results:
            raise
        raise Broken(results, error) from error
    if len(results) < len(items):  # it was taken for the end of the items
        raise Broken(results, StopIteration())
    return results


def size(items: int, workers: int) -> int:
    """How many items are one chunk where nobody has said."""
    return max(1, min(_MOST, items // (_CHUNKS * workers)))


def cut(items: Iterable[Any], size: int) -> Iterator[Sequence[Any]]:
    """Parts of so many items, the last one smaller."""
    if isinstance(items, (list, range)):
        return (items[start : start + size] for start in range(0, len(items), size))
    left = iter(items)
    return iter(lambda: list(islice(left, size)), [])
