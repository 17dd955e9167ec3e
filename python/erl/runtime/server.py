"""Runs user code: reads messages from the port, calls what they name, answers.

Calls run in the main thread, first in, first out; one that waits for an answer of Erlang's lets those that arrive
meanwhile nest. Answers are written together, at the latest before a call that may be slow and before waiting for more.

Where the codec is compiled, its lane serves the common calls, and what is here says how: whatever a call meets on its
way (arguments, references, prints, errors) has the same effects in the same order on both. A change here is one there.
"""

from __future__ import annotations

import os
import sys
from _operator import setitem  # `operator` costs more
from _thread import get_ident

from erl import codec, errors
from erl.codec import Options, Reader
from erl.codec.options import NONE_NIL, NONE_NONE
from erl.names import lookup, traces
from erl.runtime import limits, output
from erl.runtime.answers import Answers
from erl.runtime.doubts import FAST_SECONDS, Doubts
from erl.runtime.inbox import GLANCE, Inbox
from erl.runtime.interrupts import Interrupts
from erl.runtime.later import Later
from erl.runtime.outgoing import Outgoing
from erl.runtime.questions import Questions
from erl.runtime.state import State
from erl.values import steps
from erl.values.scope import current
from erl.wire import messages
from erl.wire.port import Port, PortClosedError

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.runtime.threads import Threads
    from erl.values.scope import Scope

_LANE_FLAGS = 31 | NONE_NIL | NONE_NONE
"""The lane serves calls with these."""
_MOST_STRAYS = 100
"""So many exceptions between two calls are told of; from then on each is a pause, until there is a call."""
_STRAY_SECONDS = 0.001
_DOORS = 3
"""So many exceptions in a row may come between two calls: one while the one before it is dealt with, and again."""
_PLAIN = frozenset((int, str, bytes, float, bool, list, tuple, dict, type(None)))


class Server:
    """One interpreter's side of the conversation."""

    # Here nobody replaces them.
    from time import monotonic as _now  # type: ignore[misc]
    from time import perf_counter as _seconds  # type: ignore[misc]
    from time import sleep as _sleep  # type: ignore[misc]

    def __init__(self, port: Port, options: Options, compressed: int = 0, scope: Scope | None = None) -> None:
        self.scope = current() if scope is None else scope
        self.scope.references.set_main_thread()
        self.handler: Callable[[Any], object] = _ignore
        self.options = options
        """How values are mapped where a call brings no options."""
        self._port = port
        self.hear = port.hear
        self._thread = get_ident()
        self._references, self._decoders = self.scope.references, self.scope.decoders
        self._state = state = State()
        self._out = Outgoing(port, options, self.scope, compressed)
        self._stdout = self._out.stdout
        self.cast, self.prepared_cast, self.log = self._out.cast, self._out.prepared_cast, self._out.log
        """See `api.cast`, `api.prepared_cast` and `Outgoing.log`."""
        self._answers = Answers(self._out, state, self.scope)
        self._inbox = Inbox(port, state.cancelled, self.scope)
        self._inbox.options = options
        self._inbox.unwanted = self._note_unwanted
        self._inbox.refuse = self._refuse
        self._interrupts = Interrupts(
            state, self._inbox, self._out, Server._serve.__code__, Server._run.__code__
        )
        self._signals = self._interrupts.signals
        self.flush = self._out.flush = self._interrupts.flush
        self._questions = Questions(state, self._inbox, self._out, self._interrupts, self._serve)
        self.later = Later(self._out, self._answers, self.scope)
        self._threads: Threads | None = None
        self._doubts = Doubts(port)
        self._page: memoryview | None = None
        self._leaving = False
        self._strays = 0
        self._strayed_at = -1
        state.lane = self._open_lane() if port.packet == 4 and not compressed else None

    def _open_lane(self) -> Any:
        """The compiled code that serves the common calls as `_call` does; None where it is missing."""
        if codec.Lane is None:
            return None
        return codec.Lane(
            scope=self.scope,
            frames=self._port.frames,
            pending=self._port.pending,
            printed=self._stdout.bytes.parts,
            open_calls=self._state.open,
            cancelled=self._state.cancelled,
            cached=lookup._cached,
            doubts=self._doubts.left,
            wrappers=lookup.WRAPPERS,
            said=lookup.SAID,
            find=lookup.function,
            keywords=lookup.keywords,
            invoke=_invoke,
            failure=self._answers.failure,
            answer=self._answers.answer,
            doubt=self._was_slow,
            closed=PortClosedError,
            spare=limits.spare,
            later=self._later,
            flags=self.options.flags,
        )

    def use(self, options: Options) -> None:
        """Map values by these options where a call brings none."""
        self.options = self._out.options = self._inbox.options = options
        state = self._state
        if options.flags & ~_LANE_FLAGS:
            state.lane = None
        if state.lane is not None:
            state.lane.use(options.flags)

    @property
    def worker(self) -> object:
        """The pid of the worker process that owns this interpreter; None where there is none."""
        return self._out.worker

    def serve_for(self, worker: object) -> None:
        """Say whose interpreter this is."""
        self._out.worker = worker
        self._interrupts.tell_of_signal()

    @property
    def running(self) -> int:
        """The id of the call whose user code runs; see `State.running`."""
        return self._state.running

    def count_begun(self, page: Any) -> None:
        """Write the number of each call, before its user code runs, to the first integer of this writable buffer.

        It has eight bytes, or 64 of a page that Erlang writes, too (see `erl.runtime.output`). None: do not count.
        """
        self._page = None if page is None else output.words(page)
        self._out.output.use_page(self._page)
        self._inbox.count_begun(self._page)

    @property
    def keeps_limit(self) -> bool:
        """Whether Erlang may take calls back that have come ("Work that moves" in docs/architecture.md)."""
        return self._inbox.keeps_limit

    def run_in_threads(self, most: int) -> None:
        """Run calls in so many threads from now on; the main thread only reads."""
        from erl.runtime.threads import Threads

        self._threads = Threads(
            most, self._inbox, self._out, self._questions, self.later, self._page, self.scope, self._signals
        )
        self._state.lane = None

    def keep_to_rate(self) -> None:
        """Print and log no more than what is heard of a sandboxed Python."""
        self._out.output.keep_to_rate()

    def start(self) -> None:
        """Take over what a process has once, standard output and signals, and serve to the end."""
        self._interrupts.take_over()
        sys.stdout = self._stdout
        os.register_at_fork(after_in_child=self._forked)
        try:
            self.serve()
        except PortClosedError as closed:
            self._out.closed(closed.error)

    def serve(self) -> None:
        """Serve until Erlang closes the port, which is `PortClosedError`, or asks to leave."""
        entered = self.scope.enter()
        self.scope.bridge = self
        try:
            self._serve_all(_DOORS)
        except PortClosedError:
            self.handler = _ignore
            raise
        finally:
            self.scope.leave(entered)

    def _serve_all(self, doors: int) -> None:
        """Serve to the end, whatever handlers raise between two calls."""
        stray: BaseException | None = None
        while True:
            try:
                if stray is not None:
                    error, stray = stray, None
                    self._recover(error)
                return self._serve_all(doors - 1) if doors else self._serve(None)
            except (PortClosedError, SystemExit):
                raise
            except BaseException as error:
                if isinstance(error, MemoryError):  # what another thread or another call keeps has filled all
                    limits.spare.clear()
                    limits.recover()
                stray = error

    def _recover(self, error: BaseException) -> None:
        """Go on behind an exception that came outside of user code: a signal handler's, an audit hook's."""
        self._state.entered, self._state.asking = 0, False
        self._state.outer.clear()
        if self._settle(0, error):
            return
        if self._inbox.turn != self._strayed_at:
            self._strayed_at, self._strays = self._inbox.turn, 0
        self._strays += 1
        if self._strays > _MOST_STRAYS:
            self._sleep(_STRAY_SECONDS)  # it may be one that never ends
        else:
            traces.show("An exception between two calls:", error)

    def _settle(self, outer: int, error: BaseException) -> bool:
        """Answer the calls that were begun behind the first `outer` and have no answer; whether there was one."""
        found, open_ = False, self._state.open
        while len(open_) > outer:
            found = True
            id_ = open_[-1]
            if self.later.has(id_):
                open_.remove(id_)
            else:
                self._answers.answer(id_, self._answers.failure(id_, error))
        return found

    def _forked(self) -> None:
        """A process that user code forked is no worker: it prints to descriptor 1, and has no Erlang to talk to."""
        self._signals.give_back()
        self._out.abandon()
        self.scope.bridge = None
        if sys.stdout is self._stdout:
            sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115

    def leave(self) -> None:
        """End `serve` after this call."""
        self._leaving = True
        if self._threads is not None:
            self._threads.leave()

    def _serve(self, until: int | None, deadline: float | None = None) -> None:
        """Serve until the answer with this id has come; None: until the end. Raises `errors.AnswerTimeoutError`."""
        port, inbox, state = self._port, self._inbox, self._state
        lane = state.lane if until is None else None
        nests: bool | None = True if until is None else None
        while True:
            if self._threads is not None:
                self._threads.serve(until, deadline)
                return
            seen = inbox.seen
            if until is not None:
                if state.outer[-1] in state.cancelled:
                    self._interrupts.heed(state.outer[-1])  # which may find the answer
                if inbox.has(until):
                    return
            if lane is not None:
                while lane.run():
                    port.flush()
            turn = inbox.turn
            if nests is None and inbox.next() is not None:
                nests = state.may_nest()
                if not nests:
                    self._out.tell("$py.alone", until or 0)
            if nests is not False and not inbox.is_held():
                if self._handle(inbox.next(), turn):
                    continue
            else:
                inbox.sort()
                inbox.find_compressed()
            if inbox.seen != seen:
                continue  # an answer has come
            port.flush()
            if self._leaving and until is None:
                return
            if deadline is not None and self._now() >= deadline:
                raise errors.AnswerTimeoutError("Erlang has not answered in time")
            if until is None:
                state.entered = 0  # whatever has torn the end of a call: no interruption enters this read
            self._signals.renew()
            inbox.wait(deadline, seen)

    def _refuse(self, head: bytes, error: MemoryError) -> None:
        """Answer a message for which there is no memory; these are the first bytes of its frame."""
        reader = Reader(head)
        call = reader.call_head()
        if call is not None:
            if self._threads is not None:
                self._threads.count_one()
            elif not self._inbox.refuse_call():
                return
            refusal = MemoryError("the call's arguments are larger than the memory that is left")
            self._out.send(self._answers.failure(call[0], refusal))
            return
        size, kind = reader.tuple_header(), reader.raw()
        if size == 3 and kind in ("r", "e"):
            self._inbox.refuse_answer(reader.raw())
        else:
            self._answers.send(None, self._answers.failure(None, error))

    def _handle(self, frame: bytes | None, turn: int) -> bool:
        """Do what a frame says that was the next one at this turn; False when there is none."""
        if frame is None:
            return False
        inbox = self._inbox
        try:
            reader = Reader(frame)
            head = reader.call_head()
            message = messages.parse(reader, self.options) if head is None else None
        except errors.BridgeError as error:
            if inbox.begin(turn):
                self._answers.send(None, messages.failure(None, error, [], self.options))
            return True
        if head is not None:
            del frame  # a large one goes when it is read, before its call runs
            outer = len(self._state.open)
            try:
                self._call(turn, reader, *head)
            except PortClosedError:
                raise
            except BaseException as error:  # of a handler, while the answer was made or sent
                if not self._settle(outer, error):
                    raise
        elif message is not None and message.kind == "M":
            self._message(turn, message.value)
        elif inbox.begin(turn) and message is not None:
            if message.kind == "X":
                self._unwanted(message.id)
            else:
                inbox.put(message, frame)
        return True

    def _begin(self, turn: int, id_: int) -> bool:
        """Take the frame of a call: it has begun, and will be answered; False where somebody else has, or Erlang."""
        step: steps.Step = map(self._state.open.append, (id_,))
        if self._state.outer:
            references = self._references
            step = steps.together(step, steps.each(setitem, references.since, id_, references.count_made()))
        return self._inbox.begin(turn, step, call=True)

    # Calls of Python

    def _call(self, turn: int, reader: Reader, id_: int, module: str, name: str) -> None:
        options = self.options
        try:
            if not self._begin(turn, id_):
                return
            self._state.aside = id_
            prepare = lookup.WRAPPERS.get(name) if module in lookup.SAID and options.tagged else None
            if prepare is not None:
                options, args = reader.flagged_args()
                reader.end()
                key, run, args, keywords = prepare(*args)
                args = self._decoders.apply(args)
                if keywords:
                    keywords = dict(zip(keywords, self._decoders.apply(list(keywords.values())), strict=True))
            else:
                args, keywords, key = reader.args(options), None, (module, name)
                reader.end()
                run = lookup.function(module, name)
                args = self._decoders.apply(args)  # which the module may have set while it was imported
            value = self._run(id_, run, args, keywords, key)
            later = type(value) not in _PLAIN and options.tagged and hasattr(type(value), "__await__")
            frame = b"" if later else self._answers.result(id_, value, options)
            args = []
        except PortClosedError:
            raise
        except BaseException as error:  # the door around user code: also SystemExit, KeyboardInterrupt
            if isinstance(error, MemoryError):
                limits.spare.clear()
            args, keywords, run, value = [], None, None, None  # what they hold may be all that there is
            reader.let_go()
            if id_ not in self._state.open:
                raise  # of a handler, before the call has begun: it is still to come
            later, frame = False, self._answers.failure(id_, error)
        if later:
            self._later(id_, value, options.flags)
        else:
            value = None
            self._answers.answer(id_, frame)

    def _run(
        self,
        id_: int,
        run: Callable[..., object],
        args: list[Any],
        keywords: dict[str, Any] | None,
        key: object,
    ) -> object:
        """Call user code, after the answers before it if it may hold them up."""
        doubts = self._doubts.left.get(key, 1)
        if doubts:
            self._port.flush()
        if self._inbox.is_asked:
            self._inbox.hand_over()
        start = self._seconds()
        value = self._entered(id_, run, args, keywords)
        seconds = self._seconds() - start
        if (doubts or seconds > FAST_SECONDS) and self._doubts.note(key, doubts, seconds):
            self._state.cancelled.add(GLANCE)
        return value

    def _entered(
        self, id_: int, run: Callable[..., object], args: list[Any], keywords: dict[str, Any] | None
    ) -> object:
        """Call user code as this call's. Short: CPython notes where a `finally` goes on in an integer that has to be
        made behind the 256th of its code's units, and tries that for ever where there is no memory."""
        state = self._state
        outer = state.entered, state.asking
        try:
            state.entered, state.asking, state.aside = id_, False, 0
            self._out.waited = 0
            if state.cancelled:
                self._interrupts.heed(id_)
            return run(*args, **keywords) if keywords else run(*args)
        finally:
            state.entered, state.asking = outer

    def _was_slow(self, key: object) -> None:
        """What the lane says of a callable that was trusted."""
        self._doubts.note_slow(key)
        self._state.cancelled.add(GLANCE)

    def _message(self, turn: int, value: object) -> None:
        self._port.flush()
        state = self._state
        outer = state.entered, state.asking
        since = self._references.count_made()
        try:
            if not self._inbox.begin(turn):
                return
            state.entered, state.asking = 0, False  # of no call, also where it nests in one
            self.handler(value)
        except PortClosedError:
            raise
        except BaseException as error:  # the same door, for the message handler
            if isinstance(error, MemoryError):
                limits.spare.clear()
            value = None
            self._answers.send(None, self._answers.failure(None, error))
        finally:
            state.entered, state.asking = outer
        if self._references.count_made() > since:
            self._out.own(0, since)  # of no call: the worker's
        self._out.end_output()

    def _later(self, id_: int, value: Any, flags: int) -> None:
        """Answer a call when what it returned has ended."""
        self.later.start(id_, value, flags, self._state.open)

    # Calls that Erlang does not want any more

    def _unwanted(self, id_: int) -> None:
        """Its turn has come: the call is over, waits for Erlang, or is a coroutine."""
        if id_ in self._state.outer:
            self._state.cancelled.add(id_)
        else:
            self._state.cancelled.discard(id_)
            self.later.cancel(id_)

    def _note_unwanted(self, id_: int) -> None:
        """It was read before its turn, by any thread, and is among `cancelled` until then."""
        if self._threads is not None:
            self._threads.cancel(id_)
        elif not self.later.cancel(id_) and get_ident() != self._thread:
            self._signals.strike()

    # What `erl.api` needs

    def call_erlang(
        self, module: str, function: str, args: list[object], context: str, timeout: float | None = None
    ) -> object:
        """Call an Erlang function and wait for its answer, in the main thread serving; see `api.call`."""
        return self._questions.ask(module, function, args, context, timeout)

    async def call_erlang_later(
        self, module: str, function: str, args: list[object], timeout: float | None
    ) -> object:
        """The same for a coroutine; see `api.acall`."""
        return await self._questions.ask_later(module, function, args, timeout)


def _invoke(run: Callable[..., object], args: Any, keywords: dict[str, Any] | None) -> object:
    return run(*args, **keywords) if keywords else run(*args)


def _ignore(_message: object) -> None:
    """The message handler where nobody has set one, as in ErlPort."""
