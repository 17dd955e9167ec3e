"""What arrives from Erlang, for whichever thread waits for it.

One thread reads at a time. It is the main thread while that one has nothing to run; while it runs user code, the
first of the other threads that waits for an answer of Erlang's reads in its place, until it has that answer. What a
thread has read is sorted (`erl.wire.frames`): answers to where their callers find them, all else to the backlog, in
order. So no answer waits for a busy main thread, and while nobody but the main thread asks, nothing is handed over.

Whoever enters a thread that reads or waits may read and wait itself: reading and sorting are steps, and whoever was
entered looks again.
"""

from __future__ import annotations

from _thread import allocate_lock
from itertools import count

from erl import errors
from erl.codec import Reader
from erl.runtime import limits
from erl.runtime.clock import release
from erl.terms import Atom
from erl.values import steps
from erl.wire import messages
from erl.wire.port import PortClosedError

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.codec import Options
    from erl.values.scope import Scope
    from erl.wire.port import Port

LOOK = -1
"""A mark: something may have been cancelled since the port was read last."""
_OTHERS = -3
"""A mark: other threads wait for answers."""
GLANCE = -4
"""A mark: as `LOOK`, but not for so much as to fill the memory with what waits."""
_GLANCE_READS = 16
_LOOK_SECONDS = 0.2
_GLANCE_BYTES = 1 << 22


class Inbox:
    """The input side of a port, shared by threads.

    `marks` is a set that is not empty while the main thread must take its frames from here one by one; calls that are
    unwanted are in it by their ids.
    """

    from time import monotonic as _now  # type: ignore[misc]  # here nobody replaces it

    def __init__(self, port: Port, marks: set[int], scope: Scope) -> None:
        self.options: Options | None = None
        self.unwanted: Callable[[int], None] = _nobody
        """Told of the id of an unwanted call as soon as it is read: by any thread, or by two. It is a mark."""
        self.refuse: Callable[[bytes, MemoryError], None] = _raise
        """Told of a frame that the memory has no room for, by its first bytes."""
        self._port = port
        self._frames = port.frames
        self.marks = self._frames.marks = marks
        self._idle = allocate_lock()
        self._idle.acquire()
        self._waiters: dict[int, Callable[[], object]] = {}
        self._ids = count(1)
        self._on_loops: set[int] = set()
        self._relay: Any = None
        self._context = scope.context

    # The main thread

    @property
    def seen(self) -> int:
        """What has come so far, for `wait`; to be read before one looks at what there is."""
        moves: int = self._frames.moves
        return moves

    def next(self) -> bytes | None:
        """The next frame, which stays there until `begin`; None when there is none, or an answer came before it."""
        try:
            frame: bytes | None = self._frames.next()
        except MemoryError as error:
            self._refuse(error)
            frame = self._frames.next()
        if self._frames.answered:
            frame = None
        self._tell()
        return frame

    def backlog(self) -> int:
        """How many frames have been sorted and not begun."""
        return len(self._frames.backlog)

    @property
    def turn(self) -> int:
        """What `begin` wants to know; to be read before `next`."""
        turn: int = self._frames.turn
        return turn

    def begin(self, turn: int, then: steps.Step = (), call: bool = False) -> bool:
        """Take the frame that `next` has shown at this turn, and do these steps; False where somebody else has.

        A call may be held, too: Erlang takes it back, and says so soon.
        """
        taken: bool = self._frames.begin(turn, then, call)
        return taken

    def count_begun(self, page: memoryview | None) -> None:
        """Write the numbers of calls that begin to the first word of this page."""
        self._frames.count_begun(page)

    @property
    def keeps_limit(self) -> bool:
        """Whether the second word of the page says which calls may begin."""
        keeps: bool = self._frames.keeps_limit
        return keeps

    def is_held(self) -> bool:
        """Whether the next frame is a call that may not begin before Erlang has said which ones it has taken back."""
        held: bool = self._frames.is_held()
        return held

    def refuse_call(self) -> bool:
        """The frame that was refused was a call's; whether that call is still for us to answer."""
        ours: bool = self._frames.refuse_call()
        return ours

    def wait(self, deadline: float | None = None, seen: int = -1) -> None:
        """Wait until there may be more than was seen, or until the deadline (of `time.monotonic`)."""
        if not self._read(deadline, seen):
            self._idle.acquire(True, -1 if deadline is None else max(0.0, deadline - self._now()))

    def again(self) -> None:
        """Let the main thread look again: it was entered while it waited, or another thread wants it to."""
        release(self._idle)
        self._frames.again()

    def let_wake(self) -> None:
        """From now on other threads end the main thread's waits, by `again` and then a signal: none is lost."""
        self._frames.woken = True

    def sort(self) -> None:
        """Put the frames that have come where they belong."""
        try:
            self._frames.sort()
        except MemoryError as error:
            self._refuse(error)
        self._tell()

    def _read(self, deadline: float | None, seen: int = -1) -> bool:
        """Read once; False where another thread reads."""
        try:
            return self._port.read(None if deadline is None else max(0.0, deadline - self._now()), seen)
        except MemoryError as error:
            self._refuse(error)
        return True

    def _refuse(self, error: MemoryError) -> None:
        limits.spare.clear()  # to give a frame up takes some
        if self._frames.waiting() <= self._port.packet:
            raise error
        head, _missing = self._frames.drop()
        # It holds all of that frame, and what is held is judged when the answer comes.
        limits.keep(error)
        self.refuse(head, error)

    def _tell(self) -> None:
        """Tell of what was sorted those who wait for it. What is told twice harms nobody.

        Another thread, or a handler that enters here, may tell the same meanwhile.
        """
        frames = self._frames
        while first := frames.unwanted[:1]:
            id_ = first[0]
            self.unwanted(id_)
            _remove(frames.unwanted, id_)
        while first := frames.answered[:1]:
            id_ = first[0]
            wake = self._waiters.get(id_)
            if wake is not None:
                wake()
            _remove(frames.answered, id_)

    def glance(self) -> None:
        """Sort some of what has arrived, as long as not too much of it waits."""
        if self._frames.backlog_bytes < _GLANCE_BYTES:
            self.look_ahead(0, 0.0, _GLANCE_READS)

    def look_ahead(self, until: int, pause: float, most_reads: int = 1 << 30) -> None:
        """For a signal handler: sort what has arrived, up to the word that the call with the id `until` is unwanted.

        Behind large arguments that word comes in a while: within a frame, the next of its bytes may take up to `pause`,
        in seconds. A look takes no more than `_LOOK_SECONDS`, however much is sent meanwhile.
        """
        end = self._now() + _LOOK_SECONDS
        try:
            while True:
                self.sort()
                if until in self.marks or not most_reads or self._now() > end:
                    return
                before = self._frames.waiting()
                if not self._read(self._now() + (pause if before else 0.0)):
                    return  # the thread that reads does it
                if self._frames.waiting() == before:
                    return  # nothing has come
                most_reads -= 1
        except PortClosedError:
            return  # found out again when what has come is served

    def hand_over(self) -> None:
        """Let another thread read: this one has something else to do."""
        if self._waiters:
            for wake in list(self._waiters.values()):
                wake()
        release(self._idle)

    @property
    def is_asked(self) -> bool:
        """Whether other threads wait for answers."""
        return bool(self._waiters)

    # Answers

    def expect(self, serving: bool) -> int:
        """A new id for a call of Erlang: negative where no call of Erlang's can be served until its answer is here."""
        id_ = next(self._ids) if serving else -next(self._ids)
        self._frames.expected.add(id_)
        return id_

    def forget(self, id_: int) -> None:
        """Let an answer that comes now pass."""
        self._frames.expected.discard(id_)
        self._frames.answers.pop(id_, None)

    def put(self, message: messages.Message, frame: bytes) -> None:
        """Note an answer that did not look like one (it was compressed); one that nobody expects is dropped."""
        if message.id in self._frames.expected:
            self._frames.answers[message.id] = frame
            wake = self._waiters.get(message.id)
            if wake is not None:
                wake()

    def refuse_answer(self, id_: int) -> None:
        """There is no memory for an answer: that is what who waits for it gets."""
        if id_ in self._frames.expected:
            self._frames.answers[id_] = b""
            wake = self._waiters.get(id_)
            if wake is not None:
                wake()

    def has(self, id_: int | None) -> bool:
        """Whether that answer is here."""
        return id_ in self._frames.answers

    def result(self, id_: int) -> object:
        """What Erlang answered. Raises what it raised."""
        assert self.options is not None
        frame = self._frames.answers.pop(id_)
        self._frames.expected.discard(id_)
        if not frame:
            raise MemoryError("the answer is larger than the memory that is left")
        answer = messages.parse(Reader(frame), self.options)
        if answer.error is not None:
            raise answer.error
        if answer.kind == "e":
            raise _erlang_error(answer.value)
        return answer.value

    # Other threads

    def await_answer(self, id_: int, deadline: float | None) -> None:
        """Wait for an answer in another thread than the main one. Raises `errors.AnswerTimeoutError`."""
        woken = allocate_lock()
        woken.acquire()
        self.enter(id_, lambda: release(woken))
        try:
            self._read_until(lambda: self.has(id_), woken, deadline)
        finally:
            self.leave_waiters(id_)

    def call_when_answered(self, id_: int, wake: Callable[[], object]) -> None:
        """Call `wake`, in some thread and perhaps more than once, when the answer may be here; `leave` ends that."""
        self._on_loops.add(id_)
        self.enter(id_, wake)
        if self._relay is None:
            from _thread import start_new_thread

            self._relay = allocate_lock()
            start_new_thread(self._context().run, (self._read_for_loops,))
        release(self._relay)

    def leave(self, id_: int) -> None:
        """The answer was taken, or is not wanted any more."""
        self._on_loops.discard(id_)
        self.leave_waiters(id_)
        release(self._relay)

    def _read_for_loops(self) -> None:
        """The thread that reads for coroutines, which can't wait themselves."""
        while True:
            self._relay.acquire()
            self.enter(0, lambda: release(self._relay))
            try:
                self._read_until(lambda: not self._on_loops, self._relay, None)
            except PortClosedError:
                return  # the main thread finds out by itself
            finally:
                self.leave_waiters(0)

    def enter(self, id_: int, wake: Callable[[], object]) -> None:
        """Have `wake` called when the answer may be here, in some thread and perhaps more than once."""
        self._waiters[id_] = wake
        self.marks.add(_OTHERS)

    def leave_waiters(self, id_: int) -> None:
        """The end of what `enter` began."""
        self._waiters.pop(id_, None)
        self._unmark(_OTHERS, self._waiters)

    def _unmark(self, mark: int, reason: Any) -> None:
        """Take a mark back unless there is reason for it, also when another thread has just made one."""
        if not reason:
            self.marks.discard(mark)
            if reason:
                self.marks.add(mark)

    def _read_until(self, done: Callable[[], bool], woken: Any, deadline: float | None) -> None:
        """Read for as long as no other thread does, else wait to be woken."""
        while True:
            seen = self.seen
            self.find_compressed()
            if done():
                return
            if deadline is not None and self._now() >= deadline:
                raise errors.AnswerTimeoutError("Erlang has not answered in time")
            has_read = False
            try:
                has_read = self._read(deadline, seen)
                if has_read:
                    self.sort()
            finally:
                if has_read:
                    self.hand_over()
            if not has_read:
                woken.acquire(True, -1 if deadline is None else max(0.0, deadline - self._now()))

    def find_compressed(self) -> None:
        """Find answers that are compressed, as only ErlPort's own options make them: they don't look like answers."""
        options = self.options
        if options is None or options.tagged:
            return
        for frame in self._frames.backlog.copy():
            if messages.is_compressed(frame):
                try:
                    message = messages.parse(Reader(frame), options)
                except errors.BridgeError:
                    continue  # the main thread tells of it
                if message.kind in ("r", "e"):
                    self.put(message, frame)


def _nobody(_id: int) -> None:
    """Who is told of unwanted calls before there is somebody."""


def _raise(_head: bytes, error: MemoryError) -> None:
    raise error


def _remove(some: list[int], id_: int) -> None:
    try:
        some.remove(id_)
    except ValueError:
        return  # whoever entered has done it


def _erlang_error(term: object) -> errors.ErlangError:
    """The exception for the error of an answer: `{erlang, Class, Reason, Stack}`, or what another bridge sends.

    The fifth element, if there is one, is what goes back to Erlang for it.
    """
    if isinstance(term, tuple) and len(term) in (4, 5):
        error = errors.ErlangError(term[1], term[2], term[3], *term[4:])
    else:
        error = errors.ErlangError(Atom("error"), term)
    error._term = term
    return error
