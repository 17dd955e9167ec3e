"""Calls that Erlang does not want any more: interruptions of the main thread.

An interruption is a signal, between two bytecodes (see `erl.runtime.signals`). It looks ahead at what has arrived and
raises `CallCancelled` if that names the call that runs. Where it may not enter, it leaves a mark, and one looks when
that is over.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from erl import errors
from erl.names import importing
from erl.runtime.inbox import GLANCE, LOOK
from erl.runtime.signals import FIRST, Signals

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any

    from erl.runtime.inbox import Inbox
    from erl.runtime.outgoing import Outgoing
    from erl.runtime.state import State

_MORE_SECONDS = 0.02
"""A pause between two parts of what Erlang has sent is shorter, mostly."""


class Interrupts:
    """Decides who is interrupted, and when.

    `serve` is the code of the server's loop and `run` that of its call of user code: behind them the call begins.
    """

    def __init__(self, state: State, inbox: Inbox, out: Outgoing, serve: CodeType, run: CodeType) -> None:
        self._state = state
        self._inbox = inbox
        self._out = out
        self._serve = serve
        self._outermost = (serve, run)
        self._thread = get_ident()
        self.signals = Signals(self.interrupted, self._moved)
        self._told_of_import = 0
        self._shielded = 0
        """How many parts of the main thread that no interruption may enter are under way."""
        self._hook: Callable[[Any], object] = sys.unraisablehook

    def take_over(self) -> None:
        """Have signals, Erlang's rings, and what finalizers raise come by here."""
        self.signals.take()
        self._out.port.insist = self.signals.insist
        sys.unraisablehook, self._hook = self._swallowed, sys.unraisablehook

    def interrupted(self, _signal: int, frame: FrameType | None) -> None:
        """A signal, between two bytecodes of the main thread: raises `CallCancelled` if the call that runs is unwanted.

        Where none runs, or it writes, or an earlier interruption looks, the port is in use: then one looks when that is
        over. What a call imports while it is made ready or answered is told of, as in `heed`.
        """
        state = self._state
        is_busy = self._shielded or self._out.port.is_writing
        running = 0 if is_busy else state.running
        if running:
            self._look_ahead(running, _MORE_SECONDS)
            self.heed(running)
        elif not is_busy and state.aside and importing.is_under_way(frame, self._outermost):
            self._look_ahead(state.aside, _MORE_SECONDS)
            if state.aside in state.cancelled:
                self._tell_of_import(state.aside)
        else:
            state.cancelled.add(LOOK)

    def flush(self) -> None:
        """Write what is pending, in a call; an interruption that came meanwhile is heeded then."""
        self._out.port.flush()
        state = self._state
        if LOOK in state.cancelled and get_ident() == self._thread and (running := state.running):
            self.heed(running)

    def heed(self, id_: int) -> None:
        """Raise `CallCancelled` if this call, which runs, is unwanted; see the marks in `erl.runtime.inbox`."""
        cancelled = self._state.cancelled
        if GLANCE in cancelled:
            self._look_ahead(None)
            cancelled.discard(GLANCE)
        while LOOK in cancelled:
            cancelled.discard(LOOK)
            self._look_ahead(id_, 0.0)
        if id_ in cancelled:
            caller = sys._getframe(1)
            first = caller.f_back if caller.f_code is self._serve else caller
            if importing.is_under_way(first, self._outermost):
                self._tell_of_import(id_)
                return  # it is interrupted again, and then heeds it
            cancelled.discard(id_)
            error = errors.CallCancelled("Erlang does not want the result of this call any more")
            error.call = id_
            try:
                raise error
            finally:
                del error  # or it and this frame hold each other, and with them what the call has had in hand

    def tell_of_signal(self) -> None:
        """Tell the worker process which signal to raise, where that is another one than it knows."""
        if self.signals.number != FIRST:
            self._moved(self.signals.number)

    def _moved(self, number: int) -> None:
        self._out.tell("$py.signal", number)

    def _swallowed(self, unraisable: Any) -> None:
        """What a finalizer raises ends there. An interruption that met one is for its call: the next meets it again."""
        if type(unraisable.exc_value) is not errors.CallCancelled:
            self._hook(unraisable)
        elif unraisable.exc_value.call in self._state.open:
            self._state.cancelled.add(unraisable.exc_value.call)

    def _tell_of_import(self, id_: int) -> None:
        """Tell the worker process, once, that the end of an import is waited for. Waits for nothing."""
        if self._told_of_import != id_:
            self._told_of_import = id_
            self._out.tell("$py.importing", id_)
        self._out.port.flush_at_once()

    def _look_ahead(self, id_: int | None, pause: float = 0.0) -> None:
        """Sort what has arrived, up to the word that this call is unwanted; None: some of it."""
        self._shielded += 1
        try:
            if id_ is None:
                self._inbox.glance()
            else:
                self._inbox.look_ahead(id_, pause)
        finally:
            self._shielded -= 1
