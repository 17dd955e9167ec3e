"""The Python side of `py:pmap` and `py:preduce`: one call for each chunk of a list.

The functions are called like any other, so the options of the call map the items as they map the arguments of a call.
Each result of a chunk goes with the microseconds that it took, from which the other side chooses its chunks.
"""

from __future__ import annotations

import functools
from operator import length_hint
from time import perf_counter

from erl import codec, errors
from erl.calls import references
from erl.names import lookup, traces
from erl.terms import Atom, Tag
from erl.values.callout import text_of
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Any

_OK = Atom("ok")
_ERROR = Atom("error")
_SHARED = 1024
"""Of the mapping flags: large values go to shared memory. Not on trial."""
_SAFE = frozenset((int, float, bool, type(None)))
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


def map_each(
    module: object, name: object, items: list[object], held: bool, flags: int
) -> tuple[int, list[object]] | Awaitable[tuple[int, list[object]]]:
    """The same, but each item has an outcome of its own: `{ok, Value}` or `{error, Error}`.

    A value that the call, whose mapping flags these are, could not send is an error of its item.
    """
    function = lookup.target(module, name)
    start = perf_counter()
    outcomes = [_outcome(held, flags, function, item) for item in items]
    if any(hasattr(type(value), "__await__") for _, value in outcomes):
        return _outcomes(outcomes, held, flags, start)
    return _microseconds(start), [*outcomes]


async def _outcomes(
    values: list[tuple[object, Any]], held: bool, flags: int, start: float
) -> tuple[int, list[object]]:
    import asyncio

    async def outcome(kind: object, value: Any) -> tuple[object, object]:
        if not hasattr(type(value), "__await__"):
            return kind, value
        try:
            return _sendable(await value, held, flags)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return _failure(error)

    return _microseconds(start), [*await asyncio.gather(*(outcome(*value) for value in values))]


def _outcome(held: bool, flags: int, function: Callable[..., object], item: object) -> tuple[object, object]:
    try:
        value = function(item)
        return (_OK, value) if hasattr(type(value), "__await__") else _sendable(value, held, flags)
    except errors.CallCancelled:
        raise
    except BaseException as error:  # a door to user code: also SystemExit, KeyboardInterrupt
        return _failure(error)


def _sendable(value: object, held: bool, flags: int) -> tuple[object, object]:
    """The value, or its reference. Raises what would be raised when it is sent."""
    if held:
        return _OK, references.hold(value)
    if type(value) not in _SAFE:
        made = current().references.count_made()
        try:
            codec.encode(value, codec.Options.from_flags(flags & ~_SHARED))
        finally:
            current().references.release_since(made)
    return _OK, value


def _failure(error: BaseException) -> tuple[object, object]:
    kind = type(error)
    name = Atom(f"{kind.__module__}.{kind.__qualname__}"[:255])
    trace = traces.trace_of(error)
    error.__traceback__ = None  # its frames have what the function had in hand
    return _ERROR, (Atom("python"), name, Tag(text_of(error, True)), trace)


def map_reduce(
    module: object, name: object, reduce_module: object, reduce_name: object, items: list[object]
) -> tuple[int, object]:
    """`reduce` of what the first function makes of each item. The function is not `async def`."""
    function, reducer = lookup.target(module, name), lookup.target(reduce_module, reduce_name)
    start = perf_counter()
    left = iter(items)
    try:
        value = functools.reduce(reducer, [function(item) for item in left])
    except BaseException as error:
        _mark(error, items, left)
        raise
    return _microseconds(start), _unchanged(value)


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
