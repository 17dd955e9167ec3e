"""Answers to calls of Python: results, exceptions, and what is said where neither can be.

An answer comes after what its call has made and printed.
"""

from __future__ import annotations

from _thread import get_ident

from erl import errors
from erl.names import traces
from erl.runtime import limits
from erl.values import steps
from erl.wire import messages

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from erl.codec import Options
    from erl.runtime.outgoing import Outgoing
    from erl.runtime.state import State
    from erl.values.scope import Scope


class Answers:
    """Makes and sends them."""

    def __init__(self, out: Outgoing, state: State, scope: Scope) -> None:
        self._out = out
        self._state = state
        self._open = state.open
        self._references = scope.references
        self._encoders = scope.encoders
        self._thread = get_ident()

    def result(self, id_: int, value: object, options: Options) -> bytes:
        """The frame of a result; one that can't be encoded holds no references."""
        references = self._references
        given = (
            references.count_made()
        )  # what the call has sent already stays, whatever becomes of its result
        if get_ident() == self._thread:
            self._state.aside = id_
        try:
            if options.return_ref:
                value = references.hold(value)
            return messages.result(id_, self._encoders.apply(value), options)
        except BaseException:
            references.release_since(given)
            raise

    def failure(self, id_: int | None, error: BaseException) -> bytes:
        """The frame of an exception in a call, or in the message handler. Raises nothing, whatever the exception is."""
        if self._out.is_forked:
            self._out.ended_by = error
            return b""
        frame = None
        try:
            if not limits.is_short(error):
                frame = self._failed(id_, error)
        except BaseException:  # no memory, or an exception that can't be looked at
            frame = None
        if frame is None:
            frame = limits.answered(error, lambda error: self._failed_at_last(id_, error))
        # The frames of the traceback hold the call's values; let them go before the next call.
        error.__traceback__ = None
        return frame

    def _failed(self, id_: int | None, error: BaseException) -> bytes:
        """The frame of an exception, without its trace where that would be too long for the packet length."""
        out = self._out
        frame = messages.failure(id_, error, traces.trace_of(error), out.options)
        return frame if len(frame) < out.port.limit else messages.failure(id_, error, [], out.options)

    def _failed_at_last(self, id_: int | None, error: BaseException) -> bytes:
        """The same, with as much as can be told."""
        out = self._out
        for sources in (True, False, None):
            try:
                trace = [] if sources is None else traces.trace_of(error, sources)
                frame = messages.failure(id_, error, trace, out.options)
            except BaseException:  # user code, in the exception's own methods
                continue
            if len(frame) < out.port.limit:
                return frame
        return messages.last_words(id_, isinstance(error, MemoryError))

    def answer(self, id_: int, frame: bytes) -> None:
        """Send the answer to a call, after what the call has made and printed."""
        references = self._references
        since = references.since.get(id_, 0)
        try:
            if references.count_made() > since:
                self._out.own(id_, since)
            self._out.end_output()
        except MemoryError as error:
            limits.spare.clear()
            references.release_since(since)
            frame = self.failure(id_, error)
        self.send(id_, frame)

    def send(self, id_: int | None, frame: bytes) -> None:
        """Send the answer to a call, or the message handler's exception; if it is too long, say that instead."""
        if self._out.is_forked and get_ident() != self._thread:
            self._out.end_fork()
        answered: tuple[steps.Step, ...] = ()
        if id_ in self._open:
            answered = (map(self._open.remove, (id_,)), steps.each(self._references.since.pop, id_, None))
        try:
            self._out.send(frame, *answered)
        except errors.EncodeError as error:
            answered = (steps.each(self._open.remove, id_),) if id_ in self._open else ()
            self._out.send(messages.short_failure(id_, error, self._out.options), *answered)
