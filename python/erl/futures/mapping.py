"""`map` of an executor: rows of arguments in chunks, each a task, and results as they are taken."""

from __future__ import annotations

import operator
import time
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from erl.futures import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from erl.futures.future import Future


def map(  # noqa: A001
    executor: Any,
    function: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    timeout: float | None,
    chunksize: int | None,
    buffersize: int | None,
) -> Iterator[Any]:
    """See `PoolExecutor.map`."""
    if chunksize is not None and chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    if buffersize is not None:
        if not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
    end = None if timeout is None else timeout + time.monotonic()
    executor._check_open()
    is_rows = len(iterables) != 1
    items: Iterable[Any] = zip(*iterables, strict=False) if is_rows else iterables[0]
    if buffersize is None:
        listed = items if type(items) in (list, range) else list(items)
        if chunksize is None:
            count = len(listed)  # type: ignore[arg-type]
            chunksize = 1 if executor._maps_one_by_one else chunks.size(count, executor._max_workers)
        items = listed
    elif chunksize is None:
        chunksize = 1
    submits: Iterator[Callable[[], Future[Any]]]
    if chunksize == 1:
        submits = (partial(executor.submit, function, *(item if is_rows else (item,))) for item in items)
    else:
        parts = chunks.cut(items, chunksize)
        submits = (partial(executor.submit, chunks.run, function, part, is_rows) for part in parts)
    futures: deque[Future[Any]] = deque()
    try:
        for submit in submits if buffersize is None else islice(submits, buffersize):
            futures.append(submit())
    except BaseException:
        _cancel(futures)
        raise
    more = iter(()) if buffersize is None else submits
    taken = _taken(futures, more, end)
    return taken if chunksize == 1 else _flat(taken)


def _taken(
    futures: deque[Future[Any]], more: Iterator[Callable[[], Future[Any]]], end: float | None
) -> Iterator[Any]:
    try:
        while futures:
            # Nothing here keeps a result: it is the caller's alone.
            future = [futures.popleft()]
            try:
                result = [future[0].result(None if end is None else end - time.monotonic())]
            except BaseException:
                future[0].cancel()
                raise
            future.clear()
            for submit in islice(more, 1):
                futures.append(submit())
            yield result.pop()
    finally:
        _cancel(futures)


def _cancel(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def _flat(taken: Iterator[list[Any]]) -> Iterator[Any]:
    """The items of chunks; where one is broken, what it has first."""
    try:
        while True:
            try:
                items = next(taken)
            except StopIteration:
                return
            except chunks.Broken as broken:
                broken.results.reverse()
                while broken.results:
                    yield broken.results.pop()
                cause = broken.__cause__
                error = broken.error
                if error.__cause__ is None:
                    error.__cause__ = cause
                raise error from cause
            items.reverse()
            while items:
                yield items.pop()
    finally:
        operator.methodcaller("close")(taken)
