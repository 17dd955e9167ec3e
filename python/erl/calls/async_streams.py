"""Streams of asynchronous iterators: each is a task of the worker's event loop, beside its coroutines and the others.

What Erlang asks for (`erl.calls.streams`) are coroutines here. One task iterates from the beginning to the end, so
context variables and cancel scopes are kept from item to item; between two batches it waits.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import perf_counter

from erl.names import traces
from erl.runtime import limits
from erl.runtime.state import whose

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any


class Iteration:
    """The task of a stream, which does not hold the stream: with that one it ends. `until` is of `perf_counter`."""

    def __init__(self, iterable: Any) -> None:
        self._iterator: AsyncIterator[Any] = type(iterable).__aiter__(iterable)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None]
        self._order: tuple[list[object], int, float, int]
        self._filled: asyncio.Future[None]
        self._wanted: asyncio.Future[None]
        self._error: BaseException | None = None
        self._has_to_end = False
        self._is_dropped = False

    async def fill(self, items: list[object], most: int, until: float) -> bool:
        """Append items up to that number or time; True at the end. Raises what the iterator raises."""
        loop = asyncio.get_running_loop()
        self._order = items, most, until, whose.get()
        if self._loop is None:
            self._loop = loop
            self._filled = loop.create_future()
            self._task = loop.create_task(self._iterate_all())
        elif self._loop is not loop:
            raise RuntimeError("the event loop of this stream was ended, by user code in a coroutine")
        elif not self._task.done():
            self._filled = loop.create_future()
            self._wanted.set_result(None)
        if not self._task.done():
            await self._filled
        if not self._task.done():
            return False
        self._raise()
        return True

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # it holds this frame

    async def _iterate_all(self) -> None:
        try:
            await self._iterate()
        except BaseException as error:  # what is raised in it is the stream's, and ends no loop
            if isinstance(error, MemoryError):
                limits.spare.clear()
            if not (self._has_to_end and isinstance(error, asyncio.CancelledError)):
                self._error = limits.keep(error)
        finally:
            self._has_filled()
            if self._is_dropped and self._error is not None:
                traces.show("An exception at the end of a stream:", self._error)

    async def _iterate(self) -> None:
        assert self._loop is not None
        try:
            async for item in self._iterator:
                items, most, until, _ = self._order
                items.append(item)
                if len(items) >= most or perf_counter() > until:
                    del item, items
                    self._wanted = self._loop.create_future()
                    self._has_filled()
                    await self._wanted
                    whose.set(self._order[3])  # the call that asks for what comes now
        finally:
            if hasattr(self._iterator, "aclose"):
                await self._iterator.aclose()

    def _has_filled(self) -> None:
        if not self._filled.done():
            self._filled.set_result(None)

    def stop(self) -> None:
        """Have the task end, in the loop's thread."""
        if self._loop is not None and not self._task.done():
            self._has_to_end = True
            self._task.cancel()

    async def end(self) -> None:
        """Have the task end, and wait for that. Raises what the iterator's end raises."""
        if self._loop is not asyncio.get_running_loop():
            return  # it has not begun, or its loop was ended
        self.stop()
        if not self._task.done():
            await asyncio.wait([self._task])
        self._raise()

    def drop(self) -> None:
        """Have the task end; nobody waits for that. In any thread."""
        self._is_dropped = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self.stop)


def wait_within(loop: asyncio.AbstractEventLoop, answer: Any) -> Any:
    """What a coroutine gives, for code of the running loop that can't await it: the loop goes on meanwhile.

    Raises `asyncio.CancelledError` where the task that runs here is cancelled.
    """
    from asyncio import tasks

    run_once: Any = getattr(loop, "_run_once")  # noqa: B009  # asyncio's own loops have it
    waiting: Any = asyncio.current_task(loop)
    inner = loop.create_task(answer)
    if waiting is not None:
        tasks._leave_task(loop, waiting)
    try:
        while not inner.done():
            if waiting is not None and waiting._must_cancel:
                inner.cancel()
            run_once()
    finally:
        if waiting is not None:
            tasks._enter_task(loop, waiting)
    return inner.result()
