"""Runs user code: reads messages from the port, calls what they name, answers.

Calls run in the main thread, first in, first out; one that waits for an answer of Erlang's lets those that arrive
meanwhile nest. Answers are written together, at the latest before a call that may be slow and before waiting for more.

Where the codec is compiled, its lane serves the common calls, and what is here says how: whatever a call meets on its
way (arguments, references, prints, errors) has the same effects in the same order on both. A change here is one there.
"""

from __future__ import annotations

import os
import sys
from _signal import (  # type: ignore[import-not-found]  # `signal` would import enum
    SIG_DFL,
    SIGUSR1,
    pthread_kill,
    signal,
)
from _thread import get_ident
from operator import setitem

from erl import codec, decoders, encoders, errors
from erl.codec import Options, Reader
from erl.names import importing, lookup, traces, wrappers
from erl.runtime import console, limits, output
from erl.runtime.inbox import GLANCE, LOOK, Inbox
from erl.terms import Atom
from erl.values import references, steps
from erl.values.scope import current
from erl.wire import messages
from erl.wire.port import Port, PortClosedError

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

_FAST_SECONDS = 0.0001
_LONG_SECONDS = 0.001
"""Who waited behind a call that took longer may not want an answer any more."""
_MORE_SECONDS = 0.02
"""A pause between two parts of what Erlang has sent is shorter, mostly."""
_FIRST_RARE_FLAG = 32
"""The lane serves calls with the flags below."""
_DOUBTS_OF_SLOW = 1000
_DOUBTS_OF_SLOW_ONCE = 20
_MOST_KEYS = 10_000
_MOST_NESTED = 64
"""So many calls that wait for Erlang may others nest in; what comes then waits for one of them to go on."""
_FRAMES_OF_A_LIMIT = 3
"""Nothing nests where more than the limit of recursion divided by this is in use: who nests has need of it, too."""
_MOST_STRAYS = 100
"""So many exceptions between two calls are told of; from then on each is a pause, until there is a call."""
_STRAY_SECONDS = 0.001
_DOORS = 3
"""So many exceptions in a row may come between two calls: one while the one before it is dealt with, and again."""
_PLAIN = frozenset((int, str, bytes, float, bool, list, tuple, dict, type(None)))
_PRINTED_BYTES = 20
"""Of the message that holds a printed text, at most."""


class Server:
    """One interpreter's side of the conversation."""

    # Here nobody replaces them.
    from time import monotonic as _now  # type: ignore[misc]
    from time import perf_counter as _seconds  # type: ignore[misc]
    from time import sleep as _sleep  # type: ignore[misc]

    def __init__(self, port: Port, options: Options, compressed: int = 0) -> None:
        self.handler: Callable[[Any], object] = _ignore
        self.options = options
        self.worker: object = None
        self._port = port
        self._compressed = compressed
        self._thread = get_ident()
        self._output = output.Output(port)
        self._stdout = console.Stdout(self._print, self._output.await_room, self._most_printed())
        self._doubts: dict[object, int] = {}
        self._leaving = False
        self._is_forked = False
        self._strays = 0
        self._strayed_at = -1
        self._outer: list[int] = []
        """Ids of the calls that wait for Erlang, the innermost one last."""
        self._open: list[int] = []
        """Ids of the calls that were begun and not answered, the innermost last; of the lane's those it leaves."""
        self._asking = False
        """Whether the call that runs waits for Erlang just now: then it is this module that uses the port."""
        self._running = 0
        self._aside = 0
        """The id of the call that is made ready or answered: what it imports then is not user code's."""
        self._hook: Callable[[Any], object] = sys.unraisablehook
        self._told_of_import = 0
        self._shielded = 0
        """How many parts of the main thread that no interruption may enter are under way."""
        self._begun: memoryview | None = None
        self.cancelled: set[int] = set()
        """Ids of calls that are not wanted, and marks; the lane stands aside for one. Always the same set."""
        self._inbox = Inbox(port, self.cancelled)
        self._inbox.options = options
        self._inbox.unwanted = self._note_unwanted
        self._inbox.refuse = self._refuse
        self._tasks: Any = None
        self.event_loop = "asyncio"
        self._lane = self._open_lane() if port.packet == 4 and not compressed else None

    def _open_lane(self) -> Any:
        """The compiled code that serves the common calls as `_call` does; None where it is missing."""
        if codec.Lane is None:
            return None
        return codec.Lane(
            frames=self._port.frames,
            pending=self._port.pending,
            printed=self._stdout.bytes.parts,
            open_calls=self._open,
            cancelled=self.cancelled,
            cached=lookup._cached,
            doubts=self._doubts,
            wrappers=wrappers.WRAPPERS,
            said=wrappers.SAID,
            find=lookup.function,
            keywords=lookup.keywords,
            invoke=_invoke,
            failure=self._failure,
            answer=self._answer,
            doubt=self._was_slow,
            closed=PortClosedError,
            spare=limits.spare,
            later=self._later,
            flags=self.options.flags,
        )

    def use(self, options: Options) -> None:
        """Map values by these options where a call brings none."""
        self.options = self._inbox.options = options
        if options.flags >= _FIRST_RARE_FLAG:
            self._lane = None
        if self._lane is not None:
            self._lane.use(options.flags)

    @property
    def running(self) -> int:
        """The id of the call whose user code runs, 0 where none does or it waits for Erlang; for a signal handler."""
        if self._asking:
            return 0
        return self._current

    @property
    def _current(self) -> int:
        if self._running or self._lane is None:
            return self._running
        running: int = self._lane.running  # no call of the lane's nests in another
        return running

    @property
    def _innermost(self) -> int:
        """The id of the call that whoever enters just now would be taken for: it may be made ready, or answered."""
        return self._open[-1] if self._running and self._open else self._current

    def count_begun(self, page: Any) -> None:
        """Add one to a native integer, the first of this writable buffer, for each call before its user code runs.

        It has eight bytes, or 64 of a page in which Erlang counts as well (see `erl.runtime.output`). None: do not
        count (as at the start). Raises `ValueError` for a buffer of another size.
        """
        self._begun = None if page is None else output.words(page)
        self._output.use_page(self._begun)
        if self._lane is not None:
            self._lane.count_begun(None if self._begun is None else self._begun[:1])

    def keep_to_rate(self) -> None:
        """Print and log no more than what is heard of a sandboxed Python."""
        self._output.keep_to_rate()

    def start(self) -> None:
        """Take over standard output and serve until Erlang closes the port or asks to leave."""
        current().bridge = self
        signal(SIGUSR1, self._interrupted)
        sys.unraisablehook, self._hook = self._swallowed, sys.unraisablehook
        sys.stdout = self._stdout
        os.register_at_fork(after_in_child=self._forked)
        try:
            self._serve_all(_DOORS)
        except PortClosedError as closed:
            self.handler = _ignore
            if closed.error:
                sys.exit(f"erl: the port's descriptors were closed or replaced: {os.strerror(closed.error)}")

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
        self._running, self._asking = 0, False
        self._outer.clear()
        if self._settle(0, error):
            return
        if self._inbox.turn != self._strayed_at:
            self._strayed_at, self._strays = self._inbox.turn, 0
        self._strays += 1
        if self._strays > _MOST_STRAYS:
            self._sleep(_STRAY_SECONDS)  # it may be one that never ends
        else:
            try:
                from traceback import print_exception

                print("An exception between two calls:", file=sys.stderr)
                print_exception(error, file=sys.stderr)
            except Exception:  # whatever user code has made of the standard error, or of modules
                return

    def _settle(self, outer: int, error: BaseException) -> bool:
        """Answer the calls that were begun behind the first `outer` and have no answer; whether there was one."""
        found = False
        while len(self._open) > outer:
            found = True
            id_ = self._open[-1]
            if self._tasks is not None and self._tasks.has(id_):
                self._open.remove(id_)
            else:
                self._answer(id_, self._failure(id_, error))
        return found

    def _forked(self) -> None:
        """A process that user code forked is no worker: it prints to descriptor 1, and has no Erlang to talk to."""
        signal(SIGUSR1, SIG_DFL)
        self._port.abandon()
        self._stdout.bytes.parts.clear()
        self._output.use_page(None)
        self._is_forked = True
        current().bridge = None
        if sys.stdout is self._stdout:
            sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115

    def leave(self) -> None:
        """End `start` after this call."""
        self._leaving = True

    def _serve(self, until: int | None, deadline: float | None = None) -> None:
        """Serve until the answer with this id has come; None: until the end. Raises `errors.AnswerTimeoutError`."""
        port, inbox = self._port, self._inbox
        lane = self._lane if until is None else None
        nests: bool | None = True if until is None else None
        while True:
            seen = inbox.seen
            if until is not None:
                if self._outer[-1] in self.cancelled:
                    self._heed(self._outer[-1])  # which may find the answer
                if inbox.has(until):
                    return
            if lane is not None:
                while lane.run():
                    port.flush()
            turn = inbox.turn
            if nests is None and inbox.next() is not None:
                nests = self._may_nest()
                if not nests:
                    self._tell("$py.alone", until or 0)
            if nests is not False:
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
                self._running = 0  # whatever has torn the end of a call: no interruption enters this read
            inbox.wait(deadline, seen)

    def _may_nest(self) -> bool:
        """Whether the call that waits here may have others nest in it."""
        if len(self._outer) >= _MOST_NESTED:
            return False
        frame: FrameType | None = sys._getframe()
        left = sys.getrecursionlimit() // _FRAMES_OF_A_LIMIT
        while frame is not None and left:
            frame, left = frame.f_back, left - 1
        # In the middle of an import the same thread finds modules that are not whole.
        return left > 0 and not importing.is_under_way(sys._getframe(), ())

    def _refuse(self, head: bytes, error: MemoryError) -> None:
        """Answer a message for which there is no memory; these are the first bytes of its frame."""
        reader = Reader(head)
        call = reader.call_head()
        if call is not None:
            if self._begun is not None:
                self._begun[0] += 1
            refusal = MemoryError("the call's arguments are larger than the memory that is left")
            self._send(self._failure(call[0], refusal))
            return
        size, kind = reader.tuple_header(), reader.raw()
        if size == 3 and kind in ("r", "e"):
            self._inbox.refuse_answer(reader.raw())
        else:
            self._send_answer(None, self._failure(None, error))

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
                self._send_answer(None, messages.failure(None, error, [], self.options))
            return True
        if head is not None:
            del frame  # a large one goes when it is read, before its call runs
            outer = len(self._open)
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
        """Take the frame of a call: from here on it has begun, and will be answered; False where somebody else has."""
        step: steps.Step = map(self._open.append, (id_,))
        if self._begun is not None:
            step = steps.together(step, steps.each(setitem, self._begun, 0, self._begun[0] + 1))
        return self._inbox.begin(turn, step)

    # Calls of Python

    def _call(self, turn: int, reader: Reader, id_: int, module: str, name: str) -> None:
        options = self.options
        outer: list[Any] = []
        try:
            if not self._begin(turn, id_):
                return
            self._aside = id_
            outer = references.take_made() if self._outer else []  # those of the call that this one nests in
            prepare = wrappers.WRAPPERS.get(name) if module in wrappers.SAID and options.tagged else None
            if prepare is not None:
                options, args = reader.flagged_args()
                reader.end()
                key, run, args, keywords = prepare(*args)
                args = decoders.apply(args)
                if keywords:
                    keywords = dict(zip(keywords, decoders.apply(list(keywords.values())), strict=True))
            else:
                args, keywords, key = reader.args(options), None, (module, name)
                reader.end()
                run = lookup.function(module, name)
                args = decoders.apply(args)  # which the module may have set while it was imported
            value = self._run(id_, run, args, keywords, key)
            later = type(value) not in _PLAIN and options.tagged and hasattr(type(value), "__await__")
            frame = b"" if later else self._result(id_, value, options)
            args = []
        except PortClosedError:
            raise
        except BaseException as error:  # the door around user code: also SystemExit, KeyboardInterrupt
            if isinstance(error, MemoryError):
                limits.spare.clear()
            args, keywords, run, value = [], None, None, None  # what they hold may be all that there is
            reader.let_go()
            if id_ not in self._open:
                raise  # of a handler, before the call has begun: it is still to come
            later, frame = False, self._failure(id_, error)
        if later:
            self._later(id_, value, options.flags)
        else:
            value = None
            self._answer(id_, frame)
        if outer:
            references.put_back(outer)

    def _failure(self, id_: int | None, error: BaseException) -> bytes:
        """The frame of an exception in a call, or in the message handler. Raises nothing, whatever the exception is."""
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

    def _failed_at_last(self, id_: int | None, error: BaseException) -> bytes:
        """The same, with as much as can be told."""
        for sources in (True, False, None):
            try:
                trace = [] if sources is None else traces.trace_of(error, sources)
                frame = messages.failure(id_, error, trace, self.options)
            except BaseException:  # user code, in the exception's own methods
                continue
            if len(frame) < self._port.limit:
                return frame
        return messages.last_words(id_, isinstance(error, MemoryError))

    def _answer(self, id_: int, frame: bytes) -> None:
        """Send the answer to a call, after what the call has made and printed."""
        try:
            if references._made:
                self._own(id_)
            self._end_output()
        except MemoryError as error:
            limits.spare.clear()
            frame = self._failure(id_, error)
        self._send_answer(id_, frame)

    def _failed(self, id_: int | None, error: BaseException) -> bytes:
        """The frame of an exception, without its trace where that would be too long for the packet length."""
        frame = messages.failure(id_, error, traces.trace_of(error), self.options)
        return frame if len(frame) < self._port.limit else messages.failure(id_, error, [], self.options)

    def _send_answer(self, id_: int | None, frame: bytes) -> None:
        """Send the answer to a call, or the message handler's exception; if it is too long, say that instead."""
        answered: tuple[steps.Step, ...] = ()
        if id_ in self._open:
            answered = (map(self._open.remove, (id_,)),)
        try:
            self._port.write(
                messages.compress(frame, self._compressed) if self._compressed else frame, *answered
            )
        except errors.EncodeError as error:
            answered = (steps.each(self._open.remove, id_),) if id_ in self._open else ()
            self._send(messages.short_failure(id_, error, self.options), *answered)

    def _result(self, id_: int, value: object, options: Options) -> bytes:
        """The frame of a result; one that can't be encoded holds no references."""
        given = references.made()  # what the call has sent already stays, whatever becomes of its result
        if get_ident() == self._thread:
            self._aside = id_
        try:
            if options.return_ref:
                value = references.hold(value)
            return messages.result(id_, encoders.apply(value), options)
        except BaseException:
            references.release_since(given)
            raise

    def _run(
        self,
        id_: int,
        run: Callable[..., object],
        args: list[Any],
        keywords: dict[str, Any] | None,
        key: object,
    ) -> object:
        """Call user code, after the answers before it if it may hold them up.

        A callable is trusted to be fast once it was fast as often as it is asked for: once when it is new, twenty times
        when it was trusted and slow for once (as any call may be on a busy machine), a thousand times when it was slow
        again.
        """
        doubts = self._doubts.get(key, 1)
        if doubts:
            self._port.flush()
        if self._inbox.is_asked:
            self._inbox.hand_over()
        outer = self._running, self._asking
        start = self._seconds()
        try:
            self._running, self._asking, self._aside = id_, False, 0
            if self.cancelled:
                self._heed(id_)
            value = run(*args, **keywords) if keywords else run(*args)
        finally:
            self._running, self._asking = outer
        seconds = self._seconds() - start
        if seconds > _FAST_SECONDS:
            if seconds > _LONG_SECONDS:
                self.cancelled.add(GLANCE)
            self._doubt(key, _DOUBTS_OF_SLOW if doubts else _DOUBTS_OF_SLOW_ONCE)
        elif doubts:
            self._doubt(key, doubts - 1)
        return value

    def _doubt(self, key: object, doubts: int) -> None:
        if len(self._doubts) > _MOST_KEYS:
            self._doubts.clear()
        if key is not None:
            self._doubts[key] = doubts

    def _was_slow(self, key: object) -> None:
        """What the lane says of a callable that was trusted."""
        self._doubt(key, _DOUBTS_OF_SLOW_ONCE)
        self.cancelled.add(GLANCE)

    def _tell(self, what: str, id_: int) -> None:
        """Tell the worker process something of a call, where there is one."""
        if self.worker is not None:
            self._send(messages.message(self.worker, (Atom(what), id_), self.options))

    def _own(self, id_: int) -> None:
        """Tell the worker process which references the call with this id has made."""
        owned = (Atom("$py.own"), id_, references.take_made())
        self._send(messages.message(self.worker, owned, self.options))

    def _own_elsewhere(self, id_: int) -> None:
        """The same for references made in another thread than the main one: those of no call are the worker's."""
        if get_ident() != self._thread and (made := references.take_made_elsewhere()):
            self._send(messages.message(self.worker, (Atom("$py.own"), id_, made), self.options))

    def _message(self, turn: int, value: object) -> None:
        self._port.flush()
        outer = self._running, self._asking
        try:
            if not self._inbox.begin(turn):
                return
            self._running, self._asking = 0, False  # of no call, also where it nests in one
            self.handler(value)
        except PortClosedError:
            raise
        except BaseException as error:  # the same door, for the message handler
            if isinstance(error, MemoryError):
                limits.spare.clear()
            value = None
            self._send_answer(None, self._failure(None, error))
        finally:
            self._running, self._asking = outer
        if references._made:
            self._own(0)  # of no call: the worker's
        self._end_output()

    # Coroutines

    def _later(self, id_: int, value: Any, flags: int) -> None:
        """Answer a call when what it returned has ended; the calls behind it go on meanwhile."""
        if self._tasks is None:
            from erl.runtime.tasks import Tasks

            self._tasks = Tasks(self._ended, self._port.flush, self.event_loop)
        if references._made:
            self._own(id_)
        self._stdout.end()
        self._tell("$py.later", id_)
        self._tasks.start(id_, value, Options.from_flags(flags))
        if id_ in self._open:
            self._open.remove(id_)

    def _ended(self, id_: int, options: Options, value: object, error: BaseException | None) -> None:
        """A coroutine has ended, or is not wanted any more; on the event loop's thread."""
        try:
            frame = self._result(id_, value, options) if error is None else self._failure(id_, error)
            self._own_elsewhere(id_)
        except BaseException as second:  # the same door, for coroutines
            if isinstance(second, MemoryError):
                limits.spare.clear()
            frame = self._failure(id_, second)
        self._send_answer(id_, frame)

    # Calls that Erlang does not want any more

    def _unwanted(self, id_: int) -> None:
        """Its turn has come: the call is over, waits for Erlang, or is a coroutine."""
        if id_ in self._outer:
            self.cancelled.add(id_)
        else:
            self.cancelled.discard(id_)
            if self._tasks is not None:
                self._tasks.cancel(id_)

    def _note_unwanted(self, id_: int) -> None:
        """It was read before its turn, by any thread, and is among `cancelled` until then."""
        if self._tasks is not None and self._tasks.cancel(id_):
            return
        if get_ident() != self._thread:
            pthread_kill(self._thread, SIGUSR1)

    def _interrupted(self, _signal: int, frame: FrameType | None) -> None:
        """SIGUSR1, between two bytecodes of the main thread: raises `CallCancelled` if the call that runs is unwanted.

        Where none runs, or it writes, or an earlier interruption looks, the port is in use: then one looks when that is
        over. What a call imports while it is made ready or answered is told of, as in `_heed`.
        """
        is_busy = self._shielded or self._port.is_writing
        running = 0 if is_busy else self.running
        if running:
            self._look_ahead(running, _MORE_SECONDS)
            self._heed(running)
        elif not is_busy and self._aside and importing.is_under_way(frame, _OUTERMOST):
            self._look_ahead(self._aside, _MORE_SECONDS)
            if self._aside in self.cancelled:
                self._tell_of_import(self._aside)
        else:
            self.cancelled.add(LOOK)

    def _flush(self) -> None:
        """Write what is pending, in a call; an interruption that came meanwhile is heeded then."""
        self._port.flush()
        if LOOK in self.cancelled and get_ident() == self._thread and (running := self.running):
            self._heed(running)

    def _heed(self, id_: int) -> None:
        if GLANCE in self.cancelled:
            self._look_ahead(None)
            self.cancelled.discard(GLANCE)
        while LOOK in self.cancelled:
            self.cancelled.discard(LOOK)
            self._look_ahead(id_, 0.0)
        if id_ in self.cancelled:
            caller = sys._getframe(1)
            if importing.is_under_way(caller.f_back if caller.f_code is _SERVE else caller, _OUTERMOST):
                self._tell_of_import(id_)
                return  # it is interrupted again, and then heeds it
            self.cancelled.discard(id_)
            cancelled = errors.CallCancelled("Erlang does not want the result of this call any more")
            cancelled.call = id_
            raise cancelled

    def _swallowed(self, unraisable: Any) -> None:
        """What a finalizer raises ends there. An interruption that met one is for its call: the next meets it again."""
        if type(unraisable.exc_value) is not errors.CallCancelled:
            self._hook(unraisable)
        elif unraisable.exc_value.call in self._open:
            self.cancelled.add(unraisable.exc_value.call)

    def _tell_of_import(self, id_: int) -> None:
        """Tell the worker process, once, that the end of an import is waited for. Waits for nothing."""
        if self._told_of_import != id_:
            self._told_of_import = id_
            self._tell("$py.importing", id_)
        self._port.flush_at_once()

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

    # Calls of Erlang

    def call_erlang(
        self, module: str, function: str, args: list[object], context: str, timeout: float | None = None
    ) -> object:
        """Call an Erlang function and wait for its answer, in the main thread serving; see `api.call`."""
        inbox = self._inbox
        if self._port.is_writing:
            raise errors.BridgeError(
                "erl.call from a handler that entered while a message was written: it can't be answered before that is"
            )
        deadline = None if timeout is None else self._now() + timeout
        id_ = inbox.expect(get_ident() == self._thread)
        try:
            frame = messages.call(id_, module, function, args, context, self.options)
            self._stdout.end()
            self._own_elsewhere(0)
            self._send(frame)
            try:
                if get_ident() != self._thread:
                    self._port.flush()
                    inbox.await_answer(id_, deadline)
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
            self._tell("$py.dropped", id_)
            self._port.flush()

    def _serve_until(self, id_: int, deadline: float | None) -> None:
        running = self._innermost
        asking, depth = self._asking, len(self._outer)
        try:
            self._asking = True
            self._outer.append(running)
            self._serve(id_, deadline)
        except errors.AnswerTimeoutError:
            # The call goes on without the answer: from now on it is the one that runs.
            self._tell("$py.told", id_)
            self._port.flush()
            raise
        finally:
            del self._outer[depth:]
            self._asking = asking
            self._inbox.again()
            self._port.flush()  # the answers of what has nested, however long this call goes on
        if running in self.cancelled:  # while another one that nests in it waited
            self._heed(running)

    async def call_erlang_later(
        self, module: str, function: str, args: list[object], timeout: float | None
    ) -> object:
        """The same for a coroutine, which waits without holding up its event loop; see `api.acall`."""
        import asyncio

        inbox = self._inbox
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        id_ = inbox.expect(False)
        try:
            self._own_elsewhere(0)
            inbox.call_when_answered(id_, lambda: loop.call_soon_threadsafe(woken.set))
            self._send(messages.call(id_, module, function, args, "N", self.options))
            self._port.flush()
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

    def cast(self, to: object, message: object) -> None:
        """Send a message to an Erlang process; see `api.cast`."""
        self._output.await_room()
        self.cast_frame(to, message, self._encoded_cast(to, message))
        self._own_elsewhere(0)
        self._flush()

    def prepared_cast(self, to: object, message: object) -> Callable[[], None]:
        """See `api.prepared_cast`."""
        frame = self._encoded_cast(to, message)
        return lambda: self.cast_frame(to, message, frame)

    def _encoded_cast(self, to: object, message: object) -> bytes:
        return self._compress(messages.message(to, message, self.options))

    def cast_frame(self, to: object, message: object, frame: bytes) -> None:
        """Send it; what Erlang reads as a note of the bridge's own is no output."""
        if to == self.worker and messages.is_note(message):
            self._port.write(frame)
        else:
            self._output.write(frame)

    def log(self, record: tuple[object, ...]) -> None:
        """Send a record of `logging` to the worker process; of a process that was forked, to its standard error."""
        if self._is_forked:
            level, name, text, *_ = record
            print(f"{str(level).upper()}:{name}:{text}", file=sys.stderr)
            return
        self._output.await_room()
        frame = self._compress(messages.message(self.worker, (Atom("$py.log"), record), self.options))
        if self._output.admits(sum(len(text.encode()) for text in record if isinstance(text, str))):
            self._output.write(frame)
        self._flush()

    def _print(self, text: bytes, *then: steps.Step) -> None:
        """Send a text that was printed, and do these steps at once."""
        if self._output.admits(len(text)):
            self._output.write(self._printed(text), *then)
            if self._output.is_limited:
                self._say_lost(False)
        else:
            steps.at_once(steps.together(*then))
        self._flush()

    def _printed(self, text: bytes) -> bytes:
        try:
            text.decode()
        except UnicodeDecodeError:
            text = text.decode("utf-8", "backslashreplace").encode()
        return self._compress(messages.printed(text, self.options))

    def _most_printed(self) -> int:
        """How many bytes of text a message holds: what is no character takes four for each, a code point five."""
        return max(4, (self._port.limit - _PRINTED_BYTES) // 5)

    def _end_output(self) -> None:
        """Send what is printed and not sent, at the end of a call."""
        self._stdout.end()
        if self._output.is_limited:
            self._say_lost(True)

    def _say_lost(self, is_end: bool) -> None:
        lost = self._output.lost(is_end)
        if lost is not None:
            self._output.write(self._printed(lost))

    def _compress(self, frame: bytes) -> bytes:
        return messages.compress(frame, self._compressed) if self._compressed else frame

    def _send(self, frame: bytes, *then: steps.Step) -> None:
        self._port.write(self._compress(frame), *then)


async def _until(condition: Callable[[], bool], woken: Any) -> None:
    """Wait on an event that says no more than that it may be so."""
    while not condition():
        await woken.wait()
        woken.clear()


_SERVE = Server._serve.__code__
_OUTERMOST = (_SERVE, Server._run.__code__)
"""The frames behind which the call begins."""


def _invoke(run: Callable[..., object], args: Any, keywords: dict[str, Any] | None) -> object:
    return run(*args, **keywords) if keywords else run(*args)


def _ignore(_message: object) -> None:
    """The message handler where nobody has set one, as in ErlPort."""
