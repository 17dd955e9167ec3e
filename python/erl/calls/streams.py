"""Items in batches, both ways, by ordinary calls; which calls there are is the two sides' protocol.

Items of an iterator go to Erlang as `py_stream` asks for them:

    < start(Target, Name, Args, Keywords)   a `Stream`, kept as a reference
    < take(Stream, Most, AsReferences)      (Items, Ended)
    < take(.., Again)                       the batch before has not arrived: its items one by one
    < close(Stream)

Items of Erlang come in as user code asks a `Source` for them:

    > py_source:take(Pid, Most)             {more | done, Items as bytes of a term}
    > Pid ! close                           nobody will ask any more

A batch ends when it is full, or two milliseconds after it was begun. It may have twice the items that the one before it
had in that time, and half of them when the time was over first: so what comes slowly comes one by one, and what comes
fast in large batches. `py_source` makes its batches by the same rule.
"""

from __future__ import annotations

import weakref
from time import perf_counter

from erl import api, codec
from erl.calls import references
from erl.codec import Options
from erl.names import lookup
from erl.runtime import limits
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from typing import Any

_BATCH_SECONDS = 0.002
_MOST_FROM_ERLANG = 256


def start(target: object, name: object, args: list[object], pairs: list[tuple[object, object]]) -> Stream:
    """A stream of what a call gives (see `lookup.target`), or of an iterable that is no callable.

    Raises what the call raises, and `TypeError` where nothing can be iterated.
    """
    found = lookup.target(target, name)
    if args or pairs or callable(found):
        found = found(*args, **lookup.keywords(pairs))
    return Stream(found)


def take(stream: Stream, most: int, as_references: bool, again: bool = False) -> tuple[list[object], bool]:
    """The next items, up to `most`, and whether they were the last; see `Stream.take`.

    `again`: what the last call returned could not be encoded. Its items come once more, in as many calls: so those
    before the one that has no term arrive.
    """
    if again:
        stream.put_back()
    items, ended = stream.take(most)
    return ([references.hold(item) for item in items] if as_references else items), ended


def close(stream: Stream) -> None:
    """Close the generator, if it is one; see `Stream.close`."""
    stream.close()


class Stream:
    """An iterator or an asynchronous iterator on its way to Erlang. Closed when nothing refers to it any more."""

    _items: _Items | _AsyncItems | None = None

    def __init__(self, iterable: Any) -> None:
        self._error: BaseException | None = None
        self._given: list[object] = []
        self._again: list[object] = []
        self._ended = False
        self._most = 1
        self._taking = False
        self._unwanted = False
        asynchronous = not hasattr(iterable, "__iter__") and hasattr(iterable, "__aiter__")
        self._items = _AsyncItems(iterable) if asynchronous else _Items(iterable)

    def take(self, most: int) -> tuple[list[object], bool]:
        """The next items, at least one and up to `most`, and whether they were the last.

        What the iterator raises is raised when the items before it have been taken.
        """
        if self._again:
            return [self._again.pop(0)], self._ended and not self._again
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        items: list[object] = []
        until = perf_counter() + _BATCH_SECONDS
        self._taking, over = True, True  # what fails is over, and so is what is interrupted
        try:
            over = ended = self._items is None or self._items.fill(items, min(most, self._most), until)
        except (Exception, SystemExit) as error:
            if not items:
                raise
            self._error = limits.keep(error)
            ended = False
        finally:
            self._taking = False
            if over or self._unwanted:
                self.close()
        self._most = 2 * len(items) if perf_counter() <= until else max(1, len(items) // 2)
        self._given, self._ended = items, ended
        return items, ended

    def put_back(self) -> None:
        """Let the next calls of `take` return what the last one did, one by one."""
        self._again, self._given = self._given, []

    def close(self) -> None:
        """Let the iterator go; a generator is closed, so that its `finally` runs, and may raise.

        In a call that nests in `take`, which has the iterator in use, this is done when that one ends.
        """
        if self._taking:
            self._unwanted = True
            return
        items, self._items = self._items, None
        if items is not None:
            items.close()

    def __del__(self) -> None:
        self.close()


class _Items:
    """An iterator."""

    def __init__(self, iterable: Any) -> None:
        self._iterator: Iterator[Any] = iter(iterable)

    def fill(self, items: list[object], most: int, until: float) -> bool:
        """Append items up to that number or time; True at the end."""
        for item in self._iterator:
            items.append(item)
            if len(items) >= most or perf_counter() > until:
                return False
        return True

    def close(self) -> None:
        # A generator, or what is like one. A file has a `close` too, and may be the user's own to go on with.
        if hasattr(self._iterator, "throw") and hasattr(self._iterator, "close"):
            self._iterator.close()


class _AsyncItems:
    """An asynchronous iterator, on an event loop that runs while items are wanted.

    One task iterates from the beginning to the end: context variables and cancel scopes are kept from item to item.
    """

    def __init__(self, iterable: Any) -> None:
        self._iterator: AsyncIterator[Any] = type(iterable).__aiter__(iterable)
        self._loop: AbstractEventLoop | None = None
        self._task: Task[None]
        self._order: tuple[list[object], int, float]
        self._filled: Future[None]
        self._wanted: Future[None]

    def fill(self, items: list[object], most: int, until: float) -> bool:
        """As `_Items.fill`."""
        import asyncio

        self._order = items, most, until
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._filled = self._loop.create_future()
            self._task = self._loop.create_task(self._iterate_all())
        elif not self._task.done():
            self._filled = self._loop.create_future()
            self._wanted.set_result(None)
        _run(self._loop, self._filled)
        if not self._task.done():
            return False
        self._task.result()
        return True

    async def _iterate_all(self) -> None:
        try:
            await self._iterate()
        finally:
            self._has_filled()

    async def _iterate(self) -> None:
        assert self._loop is not None
        try:
            async for item in self._iterator:
                items, most, until = self._order
                items.append(item)
                if len(items) >= most or perf_counter() > until:
                    self._wanted = self._loop.create_future()
                    self._has_filled()
                    await self._wanted
        except MemoryError:
            limits.spare.clear()  # for what has to be done before the error arrives where memory is made free
            raise
        finally:
            if hasattr(self._iterator, "aclose"):
                await self._iterator.aclose()

    def _has_filled(self) -> None:
        if not self._filled.done():
            self._filled.set_result(None)

    def close(self) -> None:
        if self._loop is None:
            return
        import asyncio
        from contextlib import suppress

        loop, self._loop = self._loop, None
        try:
            _run(loop)  # what is left of a run that failed may be to stop: not the next one
            with suppress(asyncio.CancelledError):
                if not self._task.done():
                    self._task.cancel()
                    _run(loop, self._task)
            # What the generator has started besides, as `asyncio.run` does it.
            if others := asyncio.all_tasks(loop):
                for task in others:
                    task.cancel()
                _run(loop, asyncio.gather(*others, return_exceptions=True))
            _run(loop, loop.shutdown_asyncgens())
        finally:
            loop.close()


def _run(loop: AbstractEventLoop, until: Future[Any] | Coroutine[Any, Any, None] | None = None) -> None:
    """Run a loop until then, or one turn.

    Also in a call that nests in one where another loop runs: that one rests meanwhile.
    """
    from asyncio import events, tasks

    outer = events._get_running_loop()
    task = None if outer is None else tasks.current_task(outer)
    if outer is not None and task is not None:
        tasks._leave_task(outer, task)
    events._set_running_loop(None)
    try:
        if until is None:
            loop.call_soon(loop.stop)
            loop.run_forever()
        else:
            loop.run_until_complete(until)
    finally:
        events._set_running_loop(outer)
        if outer is not None and task is not None:
            tasks._enter_task(outer, task)


class Source:
    """An iterator over the items of a source of Erlang's, `py:source/1`. The Erlang side ends with it."""

    __slots__ = ("__weakref__", "_end", "_ended", "_items", "_options", "_pid")

    def __init__(self, pid: object, flags: int) -> None:
        self._pid = pid
        self._options = Options.from_flags(flags)
        self._items: Iterator[Any] = iter(())
        self._ended = False
        self._end = weakref.finalize(self, api.prepared_cast(pid, Atom("close")))
        self._end.atexit = False

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> Any:
        for item in self._items:
            return item
        while not self._ended:
            self._ask()
            for item in self._items:
                return item
        raise StopIteration

    def _ask(self) -> None:
        try:
            state, items = api.call("py_source", "take", [self._pid, _MOST_FROM_ERLANG])
            self._items = iter(codec.decode(items, self._options))
        except BaseException:  # also where it was interrupted: what it has not given must not be passed over
            self.close()
            raise
        if state == "done":
            self._ended = True
            self._end.detach()

    def close(self) -> None:
        """Read no more: what follows is the end."""
        self._ended = True
        self._items = iter(())
        self._end()
