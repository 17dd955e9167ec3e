"""Coroutines: calls of `async def` functions, each a task on an event loop that runs in a thread of its own.

The thread starts with the first of them. A task has the context (`contextvars`) of its own call, and is cancelled where
another call would be interrupted: `asyncio.CancelledError` is raised in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from erl.codec import Options

Done = Callable[[int, Options, "asyncio.Future[Any] | None"], object]


class Tasks:
    """The calls on the event loop. `done` is told, on the loop's thread, of each that has ended.

    It is given no future for a task that was cancelled and has not heeded it yet: nobody waits for that one any more.
    """

    def __init__(self, done: Done, flush: Callable[[], object], event_loop: str) -> None:
        self._done = done
        self._flush = flush
        self._tasks: dict[int, asyncio.Future[Any]] = {}
        self._ids: set[int] = set()
        self._flushing = False
        self.loop = _new_loop(event_loop)
        threading.Thread(target=self._run, name="erl event loop", daemon=True).start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def start(self, id_: int, awaitable: Any, options: Options) -> None:
        """Run the coroutine of a call; called on the main thread."""
        self._ids.add(id_)
        # As a context of its own: what a task sets there, no other call sees.
        self.loop.call_soon_threadsafe(self._start, id_, awaitable, options, context=Context())

    def _start(self, id_: int, awaitable: Any, options: Options) -> None:
        try:
            task = asyncio.ensure_future(awaitable, loop=self.loop)
        except Exception as error:  # a future of another loop
            task = self.loop.create_future()
            task.set_exception(error)
        self._tasks[id_] = task
        task.add_done_callback(lambda task: self._end(id_, options, task))
        if id_ not in self._ids:
            task.cancel()

    def _end(self, id_: int, options: Options, task: asyncio.Future[Any]) -> None:
        self._tasks.pop(id_, None)
        if id_ in self._ids:
            self._ids.discard(id_)
            self._done(id_, options, task)
            self._flush_soon()
        elif not task.cancelled():
            task.exception()  # it is seen: nobody else will ask

    def cancel(self, id_: int) -> bool:
        """Cancel the task of a call, from any thread; False where it has none."""
        if id_ not in self._ids:
            return False
        self.loop.call_soon_threadsafe(self._cancel, id_)
        return True

    def _cancel(self, id_: int) -> None:
        if id_ in self._ids:
            self._ids.discard(id_)
            task = self._tasks.get(id_)
            if task is not None:
                task.cancel()
            self._done(id_, Options.from_flags(0), None)
            self._flush_soon()

    def _flush_soon(self) -> None:
        """The answers of one turn of the loop are written together."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self._flush()


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        import uvloop  # type: ignore[import-not-found, unused-ignore]

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()
