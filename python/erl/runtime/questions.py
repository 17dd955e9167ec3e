"""Calls of Erlang: a question leaves, and its answer is waited for, in the main thread serving."""

from __future__ import annotations

from _thread import get_ident

from erl import errors
from erl.runtime.state import whose
from erl.wire import messages
from erl.wire.port import PortClosedError

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.runtime.inbox import Inbox
    from erl.runtime.interrupts import Interrupts
    from erl.runtime.outgoing import Outgoing
    from erl.runtime.state import State


class Questions:
    """Asks Erlang, in any thread. `serve` serves until the answer with an id has come, or a deadline."""

    from time import monotonic as _now  # type: ignore[misc]  # here nobody replaces it

    def __init__(
        self,
        state: State,
        inbox: Inbox,
        out: Outgoing,
        interrupts: Interrupts,
        serve: Callable[[int, float | None], None],
    ) -> None:
        self._state = state
        self._inbox = inbox
        self._out = out
        self._interrupts = interrupts
        self._serve = serve
        self._thread = get_ident()
        self.heed: Callable[[], None] = _go_on
        """Raises `errors.CallCancelled` before an unwanted call asks in another thread than the main one."""
        self.await_answer = inbox.await_answer
        """Waits there."""

    def ask(
        self, module: str, function: str, args: list[object], context: str, timeout: float | None
    ) -> object:
        """Call an Erlang function and wait for its answer; see `api.call`."""
        inbox, out = self._inbox, self._out
        if out.port.is_writing:
            raise errors.BridgeError(
                "erl.call from a handler that entered while a message was written: it can't be answered before that is"
            )
        self.heed()
        deadline = None if timeout is None else self._now() + timeout
        id_ = inbox.expect(get_ident() == self._thread)
        try:
            asker: str | int = context
            if out.options.tagged and context == "N":
                asker = self._state.asker if id_ > 0 else whose.get() or context
            frame = messages.call(id_, module, function, args, asker, out.options)
            out.stdout.end()
            out.own_elsewhere(whose.get())
            out.send(frame)
            try:
                if get_ident() != self._thread:
                    out.port.flush()
                    self.await_answer(id_, deadline)
                else:
                    self._serve_until(id_, deadline)
            except (errors.AnswerTimeoutError, PortClosedError):
                raise
            except BaseException:  # the call is not wanted any more, or a handler has raised
                self._drop(id_)
                raise
            return inbox.result(id_)
        finally:
            inbox.forget(id_)

    def _drop(self, id_: int) -> None:
        """Nobody waits for this answer any more: what would give it is ended."""
        if not self._inbox.has(id_):
            self._out.tell("$py.dropped", id_)
            self._out.port.flush()

    def _serve_until(self, id_: int, deadline: float | None) -> None:
        state, port = self._state, self._out.port
        running = state.innermost
        asking, depth = state.asking, len(state.outer)
        try:
            state.asking = True
            state.outer.append(running)
            self._serve(id_, deadline)
        except errors.AnswerTimeoutError:
            # The call goes on without the answer: from now on it is the one that runs.
            self._out.tell("$py.told", id_)
            port.flush()
            raise
        finally:
            del state.outer[depth:]
            state.asking = asking
            self._out.waited = running
            self._inbox.again()
            port.flush()  # the answers of what has nested, however long this call goes on
        if running in state.cancelled:  # while another one that nests in it waited
            self._interrupts.heed(running)

    async def ask_later(
        self, module: str, function: str, args: list[object], timeout: float | None
    ) -> object:
        """The same for a coroutine, which waits without holding up its event loop; see `api.acall`."""
        import asyncio

        inbox, out = self._inbox, self._out
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        id_ = inbox.expect(False)
        try:
            out.own_elsewhere(whose.get())
            inbox.call_when_answered(id_, lambda: loop.call_soon_threadsafe(woken.set))
            out.send(messages.call(id_, module, function, args, whose.get() or "N", out.options))
            out.port.flush()
            try:
                await asyncio.wait_for(_until(lambda: inbox.has(id_), woken), timeout)
            except asyncio.TimeoutError:
                raise errors.AnswerTimeoutError("Erlang has not answered in time") from None
            except BaseException:  # the coroutine was cancelled, or its loop ends
                self._drop(id_)
                raise
            return inbox.result(id_)
        finally:
            inbox.leave(id_)
            inbox.forget(id_)


def _go_on() -> None:
    """Where calls are not in threads, one that is not wanted waits for what it asks, and is interrupted there."""


async def _until(condition: Callable[[], bool], woken: Any) -> None:
    """Wait on an event that says no more than that it may be so."""
    while not condition():
        await woken.wait()
        woken.clear()
