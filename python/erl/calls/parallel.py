"""The Python side of `py:pmap` and `py:preduce`: one call for each chunk of a list.

The functions are called like any other, so the options of the call map the items as they map the arguments of a call.
Each result of a chunk goes with the microseconds that it took, from which the other side chooses its chunks.
"""

from __future__ import annotations

import functools
from operator import length_hint
from time import perf_counter

from erl import errors
from erl.calls import references
from erl.names import lookup, traces
from erl.terms import Atom
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from typing import Any

_OPAQUE = (Atom("$erlport.opaque"), Atom("python"))


def map(  # noqa: A001
    module: object, name: object, items: list[object], held: bool
) -> tuple[int, list[object]] | Awaitable[tuple[int, list[object]]]:
    """`function(item)` for each item; `held` keeps each result here and gives its reference.

    Where the function is `async def`, its coroutines run at the same time, and the first error cancels the others.
    Raises what the function raises, marked with the item's index.
    """
    function = lookup.target(module, name)
    start = perf_counter()
    left = iter(items)
    try:
        # Not `list(map(...))`: that takes a StopIteration of the function for the end of the items.
        values = [function(item) for item in left]
    except BaseException as error:
        _mark(error, items, left)
        raise
    if values and hasattr(type(values[0]), "__await__"):
        return _awaited(values, held, start)
    return _microseconds(start), _kept(values, held)


async def _awaited(values: list[Any], held: bool, start: float) -> tuple[int, list[object]]:
    import asyncio

    async def result(value: Any, index: int) -> object:
        try:
            return await value
        except Exception as error:
            traces.mark_item(error, index)
            raise

    tasks = [asyncio.ensure_future(result(value, index)) for index, value in enumerate(values)]
    try:
        results = await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return _microseconds(start), _kept(results, held)


def _kept(values: list[object], held: bool) -> list[object]:
    return [references.hold(value) for value in values] if held else values


def reduce(module: object, name: object, items: list[object]) -> tuple[int, object]:
    """`functools.reduce` of a chunk. The result comes back as it is: pickled, or as a reference where it can't be.

    Raises what the function raises, marked with the index of the item that was its second argument.
    """
    function = lookup.target(module, name)
    start = perf_counter()
    left = iter(items)
    try:
        value = functools.reduce(function, left)
    except BaseException as error:
        _mark(error, items, left)
        raise
    return _microseconds(start), _unchanged(value)


def combine(module: object, name: object, values: list[object]) -> object:
    """`functools.reduce` of the results of the chunks, with the initial value in front where there is one."""
    return functools.reduce(lookup.target(module, name), values)


def _mark(error: BaseException, items: list[object], left: Iterator[object]) -> None:
    traces.mark_item(error, len(items) - length_hint(left) - 1)


def _microseconds(start: float) -> int:
    return int((perf_counter() - start) * 1e6)


def _unchanged(value: object) -> tuple[object, ...]:
    """A term that is this very value again when it is read: no mapping takes a part in it."""
    try:
        return (*_OPAQUE, current().pickles.dumps(value))
    except errors.NotPicklableError:
        return references.hold(value)
