"""Coroutines: calls of `async def` functions, each a task on an event loop that runs in a thread of its own.

The thread starts with the first of them. A task has the context (`contextvars`) of its own call, and is cancelled where
another call would be interrupted: `asyncio.CancelledError` is raised in it.

What a coroutine raises is its call's, whatever it is: `SystemExit` and `KeyboardInterrupt` end no loop here. A loop
that is stopped, by user code or by what a task of user code's own raises, goes on: other calls' coroutines are on it.
Where it can't, since it was closed, all calls on it are answered, and the next coroutine begins another one.

Where no more than so many may run at a time, the others wait in order, on the loop's thread, and have not begun: one
that is cancelled meanwhile never runs.
"""

from __future__ import annotations

import asyncio
import select
import threading
from _thread import allocate_lock
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from types import BuiltinFunctionType, CoroutineType
from typing import Any, cast

from erl import errors
from erl.codec import Options
from erl.runtime import limits
from erl.runtime.clock import Clock, start_thread
from erl.runtime.state import whose
from erl.values.scope import Scope

Done = Callable[[int, Options, object, "BaseException | None"], object]

_MOST_LEFT = 100
"""So many tasks may go on that nobody wants. The call of another is not answered, and the interpreter ended for it."""
_MOST_ENDS = 1000
"""A loop that ends as often within a second does nothing else."""


class Tasks:
    """The calls on the event loop.

    `done` is told once of each, by whichever thread: its value, or what it raised. For one that is not wanted any more
    that is `CallCancelled`, whether the task heeds it or not, as long as not many have not.
    """

    def __init__(
        self, done: Done, flush: Callable[[], object], event_loop: str, most: int | None, scope: Scope
    ) -> None:
        self._done = done
        self._flush = flush
        self._kind = event_loop
        self._scope = scope
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._open: dict[int, tuple[asyncio.AbstractEventLoop, Options]] = {}
        """The calls that are not answered. Who takes one out answers it."""
        self._left: set[int] = set()
        """The tasks whose calls were answered before they ended."""
        self._most = most
        self._running: set[int] = set()
        """The calls that were begun and are not answered; at most `most`."""
        self._waiting: dict[int, tuple[Any, Context]] = {}
        self._starting = allocate_lock()
        self._flushing = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, id_: int, awaitable: Any, options: Options) -> None:
        """Run the coroutine of a call; not on the loop's thread."""
        with self._starting:
            loop = self._running_loop()
        self._open[id_] = loop, options
        # A context of its own: what a task sets there, no other call sees.
        context = self._scope.context()
        context.run(whose.set, id_)
        try:
            loop.call_soon_threadsafe(self._arrive, loop, id_, awaitable, context=context)
        except RuntimeError as error:  # closed just now
            self._answer(id_, None, error)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop
        if loop is None or loop.is_closed():
            self._loop = loop = _new_loop(self._kind)
            start_thread(self._scope.context().run, (self._run, loop))
        return loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(Exception):  # of what stands for `threading`
            threading.current_thread().name = "erl event loop"
        asyncio.set_event_loop(loop)
        ends, second = 0, Clock.monotonic()
        why: BaseException | None = None
        try:
            while not loop.is_closed() and ends < _MOST_ENDS:
                try:
                    loop.run_forever()
                except BaseException as error:  # of a task or a callback of user code's own
                    limits.spare.clear()
                    why = error
                ends += 1
                if Clock.monotonic() > second + 1:
                    ends, second = 0, Clock.monotonic()
        finally:
            self._lost(loop, why)

    def _lost(self, loop: asyncio.AbstractEventLoop, why: BaseException | None) -> None:
        """This loop does not go on: its calls end here."""
        if self._loop is loop:
            self._loop = None
        error = RuntimeError("the event loop of the coroutines was ended, by user code in one of them")
        error.__cause__ = why
        for id_, (of, _) in list(self._open.items()):
            if of is loop:
                waiting = self._waiting.pop(id_, None)
                if waiting is not None:
                    _let_go(waiting[0])
                self._answer(id_, None, error)
        self._flush()

    def _arrive(self, loop: asyncio.AbstractEventLoop, id_: int, awaitable: Any) -> None:
        if id_ not in self._open:
            _let_go(awaitable)
        elif self._most is not None and (self._waiting or len(self._running) >= self._most):
            self._waiting[id_] = awaitable, copy_context()
        else:
            self._start(loop, id_, awaitable)

    def _start_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """There is room for those that have waited longest."""
        while self._waiting and (self._most is None or len(self._running) < self._most):
            id_ = next(iter(self._waiting))
            awaitable, context = self._waiting.pop(id_)
            context.run(self._start, loop, id_, awaitable)

    def _start(self, loop: asyncio.AbstractEventLoop, id_: int, awaitable: Any) -> None:
        self._running.add(id_)
        try:
            self._tasks[id_] = loop.create_task(self._answered(id_, awaitable))
        except BaseException as error:  # no memory, or a task factory of user code's
            self._answer(id_, None, error)
            self._flush_soon()

    async def _answered(self, id_: int, awaitable: Any) -> None:
        value: object = None
        failure: BaseException | None = None
        try:
            value = await awaitable
        except BaseException as error:  # the door around user code, as in `server`
            if isinstance(error, MemoryError):
                limits.spare.clear()
            failure = error
        del awaitable
        self._tasks.pop(id_, None)
        self._left.discard(id_)
        try:
            self._answer(id_, value, failure)
        finally:
            failure = None  # it holds this frame
        self._flush_soon()

    def _answer(self, id_: int, value: object, failure: BaseException | None) -> None:
        """Unless that was done: the task was cancelled, and has heeded it later."""
        call = self._open.pop(id_, None)
        if call is None:
            return
        self._running.discard(id_)
        try:
            self._done(id_, call[1], value, failure)
        finally:
            failure = None
            if self._waiting:
                with suppress(RuntimeError):  # closed just now: all that was on it is answered
                    call[0].call_soon_threadsafe(self._start_waiting, call[0])

    def has(self, id_: int) -> bool:
        """Whether that call is answered from here."""
        return id_ in self._open

    def cancel(self, id_: int) -> bool:
        """Cancel the task of a call, from any thread; False where it has none."""
        call = self._open.get(id_)
        if call is None:
            return False
        try:
            call[0].call_soon_threadsafe(self._cancel, id_)
        except RuntimeError:
            return True  # it was closed, and answers all that was on it
        return True

    def _cancel(self, id_: int) -> None:
        unwanted = errors.CallCancelled("Erlang does not want the result of this call any more")
        waiting = self._waiting.pop(id_, None)
        if waiting is not None:
            _let_go(waiting[0])
        task = self._tasks.get(id_)
        if task is not None:
            task.cancel()
            if len(self._left) >= _MOST_LEFT:
                return
            self._left.add(id_)
        self._answer(id_, None, unwanted)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """The answers of one turn of the loop are written together."""
        if not self._flushing:
            self._flushing = True
            try:
                asyncio.get_running_loop().call_soon(self._flush_now)
            except (RuntimeError, MemoryError):
                self._flush_now()

    def _flush_now(self) -> None:
        self._flushing = False
        self._flush()


def _let_go(awaitable: Any) -> None:
    """It is not awaited: a coroutine would say so."""
    if type(awaitable) is CoroutineType:
        awaitable.close()


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if not isinstance(select.select, BuiltinFunctionType):
        raise RuntimeError(
            "coroutines run on an event loop in a thread of its own, which can't be where `select` was replaced,"
            " as gevent and eventlet do: patch without `select` and `thread`, or call a function that is no coroutine"
        )
    if kind == "uvloop":
        import uvloop  # type: ignore[import-not-found, unused-ignore]

        return cast("asyncio.AbstractEventLoop", uvloop.new_event_loop())
    loop = asyncio.new_event_loop()
    # What stands for the time in user code's tests, the time of the calls beside it is not.
    loop.time = Clock.monotonic  # type: ignore[method-assign]
    return loop
