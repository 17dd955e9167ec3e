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

import sys
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
    from collections.abc import Iterator
    from typing import Any

_BATCH_SECONDS = 0.002
_MOST_FROM_ERLANG = 256


def start(
    target: object, name: object, args: list[object], pairs: list[tuple[object, object]]
) -> Stream | AsyncStream:
    """A stream of what a call gives (see `lookup.target`), or of an iterable that is no callable.

    Raises what the call raises, and `TypeError` where nothing can be iterated.
    """
    found = lookup.target(target, name)
    if args or pairs or callable(found):
        found = found(*args, **lookup.keywords(pairs))
    if not hasattr(found, "__iter__") and hasattr(found, "__aiter__"):
        return AsyncStream(found)
    return Stream(found)


def take(stream: Stream | AsyncStream, most: int, as_references: bool, again: bool = False) -> Any:
    """The next items, up to `most`, and whether they were the last; see `Stream.take`. A coroutine of an `AsyncStream`.

    `again`: what the last call returned could not be encoded. Its items come once more, in as many calls: so those
    before the one that has no term arrive.
    """
    if again:
        stream.put_back()
    if isinstance(stream, AsyncStream):
        return _take_later(stream, most, as_references)
    return _given(*stream.take(most), as_references)


async def _take_later(stream: AsyncStream, most: int, as_references: bool) -> tuple[list[object], bool]:
    return _given(*await stream.take(most), as_references)


def _given(items: list[object], ended: bool, as_references: bool) -> tuple[list[object], bool]:
    return ([references.hold(item) for item in items] if as_references else items), ended


def close(stream: Stream | AsyncStream) -> Any:
    """Close the generator, if it is one; see `Stream.close`. A coroutine of an `AsyncStream`."""
    return stream.close()


class _Batches:
    """What was given, and what is still to be."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._given: list[object] = []
        self._again: list[object] = []
        self._ended = False
        self._over = False
        self._most = 1

    def _kept(self) -> tuple[list[object], bool]:
        """The next of what comes once more; raises what came behind the last batch."""
        if self._again:
            return [self._again.pop(0)], self._ended and not self._again
        error, self._error = self._error, None
        assert error is not None
        raise error

    def _taken(self, items: list[object], ended: bool, in_time: bool) -> tuple[list[object], bool]:
        self._most = 2 * len(items) if in_time else max(1, len(items) // 2)
        self._given, self._ended = items, ended
        return items, ended

    def put_back(self) -> None:
        """Let the next calls of `take` return what the last one did, one by one."""
        self._again, self._given = self._given, []


class Stream(_Batches):
    """An iterator on its way to Erlang. Closed when nothing refers to it any more."""

    _items: _Items | None = None

    def __init__(self, iterable: Any) -> None:
        super().__init__()
        self._taking = False
        self._unwanted = False
        self._items = _Items(iterable)

    def take(self, most: int) -> tuple[list[object], bool]:
        """The next items, at least one and up to `most`, and whether they were the last.

        What the iterator raises is raised when the items before it have been taken.
        """
        if self._again or self._error is not None:
            return self._kept()
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
        return self._taken(items, ended, perf_counter() <= until)

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


class AsyncStream(_Batches):
    """The same for an asynchronous iterator: what it does are coroutines, on the loop of the worker's others."""

    def __init__(self, iterable: Any) -> None:
        super().__init__()
        from erl.calls.async_streams import Iteration

        self._items = Iteration(iterable)

    async def take(self, most: int) -> tuple[list[object], bool]:
        """As `Stream.take`."""
        if self._again or self._error is not None:
            return self._kept()
        items: list[object] = []
        until = perf_counter() + _BATCH_SECONDS
        over = True  # what fails is over, and so is what is cancelled
        try:
            over = ended = self._over or await self._items.fill(items, min(most, self._most), until)
        except (Exception, SystemExit) as error:
            if not items:
                raise
            self._error = limits.keep(error)
            ended = False
        finally:
            if over:
                self._over = True
                self._items.stop()
        return self._taken(items, ended, perf_counter() <= until)

    async def close(self) -> None:
        """As `Stream.close`; waits for the end of the generator's `finally`."""
        self._over = True
        await self._items.end()

    def __del__(self) -> None:
        if hasattr(self, "_items"):
            self._items.drop()


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

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Any:
        for item in self._items:
            return item
        while not self._ended:
            try:
                self._come(*await api.acall("py_source", "take", [self._pid, _MOST_FROM_ERLANG]))
            except BaseException:
                self.close()
                raise
            for item in self._items:
                return item
        raise StopAsyncIteration

    def _ask(self) -> None:
        question = "py_source", "take", [self._pid, _MOST_FROM_ERLANG]
        loop = _running_loop()
        try:
            if loop is None:
                self._come(*api.call(*question))
            else:  # what feeds the source may be a stream of this loop
                from erl.calls.async_streams import wait_within

                self._come(*wait_within(loop, api.acall(*question)))
        except BaseException:  # also where it was interrupted: what it has not given must not be passed over
            self.close()
            raise

    def _come(self, state: object, items: Any) -> None:
        self._items = iter(codec.decode(items, self._options))
        if state == "done":
            self._ended = True
            self._end.detach()

    def close(self) -> None:
        """Read no more: what follows is the end."""
        self._ended = True
        self._items = iter(())
        self._end()


def _running_loop() -> Any:
    """The loop of asyncio's own kinds that runs in this thread; None where there is none."""
    events: Any = sys.modules.get("asyncio.events")
    loop = None if events is None else events._get_running_loop()
    return loop if hasattr(loop, "_run_once") else None
