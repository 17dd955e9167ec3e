"""Calls in threads, `threads => N`: the main thread reads, and N threads run what it has read.

    main thread     reads, sorts, wakes as many threads as there are frames and turns; looks again at unwanted calls
    a thread        has a turn: takes the next frame, which is a step (see "Re-entrance" in docs/architecture.md),
                    and runs its call; lets its turn go when there is no frame, and while its call waits for Erlang

There are N turns. A thread whose call has its answer of Erlang's goes on with a turn or without one, and takes its next
call with one only. So what waits for Erlang holds up nobody, and calls that nest have a thread to run on.

What a call makes, prints, logs and asks is known by its context (`state.whose`). A call that is not wanted is
interrupted by `PyThreadState_SetAsyncExc`, which raises between two bytecodes of its thread, in one step with the look
whether that thread runs this call. No lock is held by who changes what is shared: see `erl.values.steps`.
"""

from __future__ import annotations

import sys

# The thread that imports it first is its main thread, for whose end the process waits before exit handlers run.
import threading  # noqa: F401
from _thread import allocate_lock, get_ident
from itertools import count
from operator import setitem

from erl import errors
from erl.codec import Reader
from erl.names import importing, lookup
from erl.runtime import limits
from erl.runtime.answers import Answers
from erl.runtime.clock import Clock, release, start_thread
from erl.runtime.hearing import Hearing
from erl.runtime.interrupter import Interrupter
from erl.runtime.state import State, whose
from erl.values import steps
from erl.wire import messages
from erl.wire.port import PortClosedError

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.runtime.inbox import Inbox
    from erl.runtime.later import Later
    from erl.runtime.outgoing import Outgoing
    from erl.runtime.questions import Questions
    from erl.runtime.signals import Signals
    from erl.values.scope import Scope

_MOST_BEYOND = 512
"""So many threads more than turns there may be, whose calls wait for Erlang. The worker process lets no more begin."""
_AGAIN_SECONDS = 0.05
"""The time between two interruptions of one call."""
_PLAIN = frozenset((int, str, bytes, float, bool, list, tuple, dict, type(None)))


class _Thread:
    """One thread, and what it does."""

    __slots__ = ("answered", "id", "ident", "reach", "told_of_import", "turn", "wake")

    def __init__(self) -> None:
        self.ident = 0
        self.wake = allocate_lock()
        self.wake.acquire()
        self.turn: list[None] = []
        """Its turn, if it has one."""
        self.id = 0
        """The call that it has begun and not answered."""
        self.reach: set[int] = set()
        """The same while its user code runs, and may be interrupted."""
        self.answered: list[Any] = []
        """What it waits on for answers of Erlang's, the innermost last."""
        self.told_of_import = 0


class Threads:
    """Runs calls in threads, which `page` counts."""

    def __init__(
        self,
        most: int,
        inbox: Inbox,
        out: Outgoing,
        questions: Questions,
        later: Later,
        page: Any,
        scope: Scope,
        signals: Signals,
    ) -> None:
        self._inbox = inbox
        self._signals = signals
        self._out = out
        state = State()
        self._begun = state.open
        """The ids of calls that were begun and have no answer."""
        self._answers = Answers(out, state, scope)
        self._cancelled = inbox.marks
        self._later = later
        self._scope = scope
        self._page = page
        self._numbers = count(1 if page is None else page[0] + 1)
        self._main = get_ident()
        self._base = scope.context()
        self._most = most
        self._turns: list[None] = [None] * most
        self._idle: list[_Thread] = []
        self._all: dict[int, _Thread] = {}
        self._threads: set[_Thread] = set()
        self._running: dict[int, _Thread | None] = {}
        """Who has begun the call with which id; None: nobody, and nobody will."""
        self._unwanted: set[int] = set()
        """Those of them that are not wanted."""
        self._hearing = Hearing(out, self._answers, scope)
        self._leaving = False
        self._interrupter = Interrupter()
        questions.heed = self.heed
        questions.await_answer = self.await_answer
        inbox.let_wake()
        out.stdout.share()
        limits.reserve(most * _stack_bytes())
        turn: list[None] = []
        _take(self._turns, turn)
        self._start_one(turn)

    # The main thread

    def serve(self, until: int | None, deadline: float | None) -> None:
        """Read until the answer with this id has come; None: until `leave`. Raises `errors.AnswerTimeoutError`."""
        inbox = self._inbox
        while True:
            seen = inbox.seen
            inbox.sort()
            if until is not None and inbox.has(until):
                return
            self._wake()
            again = self._interrupt_again()
            if inbox.seen != seen:
                continue
            self._out.port.flush()
            if until is None and self._leaving:
                return
            if deadline is not None:
                if Clock.monotonic() >= deadline:
                    raise errors.AnswerTimeoutError("Erlang has not answered in time")
                again = deadline if again is None else min(again, deadline)
            inbox.wait(again, seen)

    def leave(self) -> None:
        """End `serve` after the call that says so."""
        self._leaving = True

    def cancel(self, id_: int) -> None:
        """A call is not wanted any more, as any thread has read: it is a coroutine, runs, or will not begin."""
        is_wanted = id_ < 0  # but elsewhere, if it has not begun
        id_ = abs(id_)
        if self._later.has(id_):
            if not is_wanted:
                self._later.cancel(id_)
            return
        thread = self._running.setdefault(id_, None)
        if thread is None:
            self._out.tell("$py.unbegun", id_)
            self._out.port.flush()
            return
        if is_wanted:
            return
        self._unwanted.add(id_)
        self._interrupt(id_, thread)
        self._tell_main()

    def count_one(self) -> None:
        """A call that has no other effect than its answer has begun."""
        if self._page is not None:
            steps.at_once(map(setitem, (self._page,), (0,), self._numbers))

    def _tell_main(self) -> None:
        if get_ident() != self._main:
            self._inbox.again()
            self._signals.strike()  # ends its wait, also one that is about to begin

    def _interrupt_again(self) -> float | None:
        """Interrupt what goes on for all that; when to do so next."""
        for id_ in list(self._unwanted):
            thread = self._running.get(id_)
            if thread is None:
                self._unwanted.discard(id_)
            else:
                self._interrupt(id_, thread)
        return Clock.monotonic() + _AGAIN_SECONDS if self._unwanted else None

    def _interrupt(self, id_: int, thread: _Thread) -> None:
        """Not in the middle of an import, whose end is waited for: see `erl.names.importing`."""
        waits = thread.answered.copy()
        if waits:
            for lock in waits:
                release(lock)
        elif importing.is_under_way(sys._current_frames().get(thread.ident), ()):
            if thread.told_of_import != id_:
                thread.told_of_import = id_
                self._out.tell("$py.importing", id_)
                self._out.port.flush()
        else:
            self._interrupter.strike(thread.ident, thread.reach, id_)

    def _wake(self) -> None:
        """Give turns to as many threads as there are frames; whoever has made either does it."""
        for _ in range(self._inbox.backlog()):
            turn: list[None] = []
            if not _take(self._turns, turn):
                return
            try:
                thread = self._idle.pop()
            except IndexError:
                if not self._start_one(turn):
                    return
                continue
            thread.turn += turn
            release(thread.wake)

    def _start_one(self, turn: list[None]) -> bool:
        """One thread more, which has this turn; False where there can't be."""
        thread = _Thread()
        thread.turn += turn
        try:
            if len(self._threads) < self._most + _MOST_BEYOND:
                start_thread(self._work, (thread,))
                self._threads.add(thread)
                return True
        except (RuntimeError, MemoryError):
            if not self._threads:
                raise
        self._turns += turn
        return False

    # A thread

    def _work(self, me: _Thread) -> None:
        me.ident = get_ident()
        self._all[me.ident] = me
        self._out.stdout.bytes.enter()
        try:
            while True:
                try:
                    while self._goes_on(me):
                        pass
                    return
                except PortClosedError:
                    return  # the main thread finds out by itself
                except BaseException as error:  # of an interruption that met the end of its call
                    if isinstance(error, MemoryError):
                        limits.spare.clear()
                    self._settle(me, error)
        finally:
            self._out.stdout.bytes.leave()
            del self._all[me.ident]
            self._threads.discard(me)

    def _goes_on(self, me: _Thread) -> bool:
        """Run what there is, and wait for more; False to end, where there are enough that wait."""
        if me.turn or _take(self._turns, me.turn):
            while self._next(me):
                pass
        is_idle = len(self._idle) < self._most
        if is_idle:
            self._idle.append(me)
        steps.move(me.turn, self._turns)
        if self._inbox.backlog():
            self._wake()
        if is_idle:
            me.wake.acquire()
        return is_idle

    def _next(self, me: _Thread) -> bool:
        """Do what the next frame says; False where there is none."""
        inbox = self._inbox
        turn = inbox.turn
        frame = inbox.next()
        if frame is None:
            return inbox.backlog() > 0  # an answer has come before it
        options = self._out.options
        try:
            reader = Reader(frame)
            head = reader.call_head()
            message = messages.parse(reader, options) if head is None else None
        except errors.BridgeError as error:
            if inbox.begin(turn):
                self._answers.send(None, messages.failure(None, error, [], options))
                self._out.port.flush()
            return True
        if head is not None:
            del frame
            if self._begin(turn, head[0], me):
                self._base.copy().run(self._call, me, reader, *head)
        elif message is not None and message.kind == "M":
            if inbox.begin(turn, self._hearing.step(message.value)):
                self._hearing.hear()
        elif message is not None and inbox.begin(turn):
            if message.kind != "X":
                inbox.put(message, frame)
            else:
                self._passed(message.id)
        return True

    def _begin(self, turn: int, id_: int, me: _Thread) -> bool:
        """Take the frame of a call: from here on it has begun, and will be answered; False where somebody else has."""
        step: steps.Step = steps.each(self._begun.append, id_)
        if self._page is not None:
            step = steps.together(step, map(setitem, (self._page,), (0,), self._numbers))
        if not self._inbox.begin(turn, step):
            return False
        if self._running.setdefault(id_, me) is not me:
            self._begun.remove(id_)
            return False
        me.id = id_
        return True

    def _passed(self, id_: int) -> None:
        """The turn of the word that a call is not wanted, or wanted back; the call's own has been."""
        if self._running.get(abs(id_), self) is None:
            del self._running[abs(id_)]
            self._cancelled.discard(abs(id_))
        if id_ not in self._running:
            self._cancelled.discard(id_)

    def _call(self, me: _Thread, reader: Reader, id_: int, module: str, name: str) -> None:
        """As `Server._call`."""
        whose.set(id_)
        options = self._out.options
        decoders = self._scope.decoders
        try:
            prepare = lookup.WRAPPERS.get(name) if module in lookup.SAID else None
            if prepare is not None:
                options, args = reader.flagged_args()
                reader.end()
                _, run, args, keywords = prepare(*args)
                args = decoders.apply(args)
                if keywords:
                    keywords = dict(zip(keywords, decoders.apply(list(keywords.values())), strict=True))
            else:
                args, keywords = reader.args(options), None
                reader.end()
                run = lookup.function(module, name)
                args = decoders.apply(args)
            value = self._entered(me, id_, run, args, keywords)
            later = type(value) not in _PLAIN and hasattr(type(value), "__await__")
            frame = b"" if later else self._answers.result(id_, value, options)
            args = []
        except PortClosedError:
            raise
        except BaseException as error:  # the door around user code: also SystemExit, KeyboardInterrupt
            self._withdraw(me)
            if isinstance(error, MemoryError):
                limits.spare.clear()
            args, keywords, run, value = [], None, None, None  # what they hold may be all that there is
            reader.let_go()
            later, frame = False, self._answers.failure(id_, error)
        if later:
            self._later.start(id_, value, options.flags, self._begun)
            if id_ in self._cancelled:
                self._later.cancel(id_)
        else:
            value = None
            self._answers.answer(id_, frame)
        self._ended(me)

    def _entered(
        self,
        me: _Thread,
        id_: int,
        run: Callable[..., object],
        args: list[Any],
        keywords: dict[str, Any] | None,
    ) -> object:
        """Call user code, within reach of interruptions."""
        try:
            me.reach.add(id_)
            if id_ in self._cancelled:
                raise errors.CallCancelled
            return run(*args, **keywords) if keywords else run(*args)
        finally:
            self._withdraw(me)

    def _withdraw(self, me: _Thread) -> None:
        """Leave the reach of interruptions: none comes after this."""
        while me.reach:
            try:
                me.reach.clear()
                self._interrupter.take_back(me.ident)
            except errors.CallCancelled:
                continue  # it came just before

    def _settle(self, me: _Thread, error: BaseException) -> None:
        """Go on behind an exception that came outside of user code."""
        self._withdraw(me)
        if me.id in self._begun:
            self._answers.answer(me.id, self._answers.failure(me.id, error))
        self._ended(me)

    def _ended(self, me: _Thread) -> None:
        id_, me.id = me.id, 0
        self._running.pop(id_, None)
        self._unwanted.discard(id_)
        self._cancelled.discard(id_)
        me.answered.clear()
        self._out.port.flush()
        if self._leaving:
            self._tell_main()

    # What calls need of Erlang

    def heed(self) -> None:
        """Have a call that is not wanted ask nothing: it would not wait for the answers, however many."""
        me = self._all.get(get_ident())
        if me is not None and me.id in self._unwanted:
            raise errors.CallCancelled

    def await_answer(self, id_: int, deadline: float | None) -> None:
        """Wait for an answer in another thread than the main one. Raises `errors.AnswerTimeoutError`."""
        me = self._all.get(get_ident())
        if me is None or not me.id:
            self._inbox.await_answer(id_, deadline)
            return
        within = bool(me.reach)
        self._withdraw(me)  # what follows is not interrupted, but looks itself
        woken = allocate_lock()
        woken.acquire()
        try:
            me.answered.append(woken)
            self._inbox.enter(id_, lambda: release(woken))
            steps.move(me.turn, self._turns)
            self._wake()
            if not self._is_replaced(me):
                raise errors.BridgeError(
                    f"{len(self._threads)} threads wait for Erlang, "
                    "and no more can be started to run what it calls meanwhile"
                )
            self._await(id_, deadline, me, woken)
        finally:
            me.answered.remove(woken)
            self._inbox.leave_waiters(id_)
            _take(self._turns, me.turn)
            if within:
                me.reach.add(me.id)

    def _is_replaced(self, me: _Thread) -> bool:
        """Whether a thread will run what the answer may wait for: one that is idle, a new one, or one that runs now."""
        if self._idle or self._start_one([]):
            return True
        return any(other is not me and not other.answered for other in list(self._all.values()))

    def _await(self, id_: int, deadline: float | None, me: _Thread, woken: Any) -> None:
        while not self._inbox.has(id_):
            if me.id in self._unwanted:
                raise errors.CallCancelled
            left = -1.0 if deadline is None else deadline - Clock.monotonic()
            if deadline is not None and left <= 0:
                raise errors.AnswerTimeoutError("Erlang has not answered in time")
            woken.acquire(True, left)


def _take(source: list[None], target: list[None]) -> bool:
    """Move one turn, in one step; False where there is none."""
    try:
        target.extend(map(source.pop, (0,)))
    except IndexError:
        return False
    return True


def _stack_bytes() -> int:
    """What a thread's stack takes of a limit of memory (getrlimit(2), RLIMIT_STACK), though most is not touched."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return min(soft, 8 << 20) if soft != resource.RLIM_INFINITY else 2 << 20
