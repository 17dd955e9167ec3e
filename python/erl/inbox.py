"""What arrives from Erlang, for whichever thread waits for it.

One thread reads at a time. It is the main thread while that one has nothing to run; while it runs user code, the
first of the other threads that waits for an answer of Erlang's reads in its place, until it has that answer. What a
thread has read and is not its own is given to its waiter (an answer) or kept for the main thread (all else), in
order. So no answer waits for a busy main thread, and while nobody but the main thread asks, nothing is handed over.
"""

from __future__ import annotations

from _collections import deque  # type: ignore[import-not-found]  # `collections` costs more
from _thread import allocate_lock
from itertools import count
from time import monotonic

from erl import errors, wire
from erl.codec import Reader
from erl.port import PortClosedError
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.codec import Options
    from erl.port import Port

LOOK = -1
"""A mark: something may have been cancelled since the port was read last."""
_BACKLOG = -2
"""A mark: there are frames that were read before their turn."""
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

    def __init__(self, port: Port, marks: set[int]) -> None:
        self.options: Options | None = None
        self.unwanted: Callable[[int], None] = marks.add
        """Told of the id of an unwanted call as soon as it is read, by any thread."""
        self.refuse: Callable[[bytes, MemoryError], None] = _raise
        """Told of a frame that the memory has no room for, by its first bytes."""
        self._port = port
        self._marks = marks
        self._backlog: Any = deque()
        self._backlog_bytes = 0
        self._reading = allocate_lock()
        self._idle = allocate_lock()
        self._idle.acquire()
        self._answers: dict[int, wire.Message] = {}
        self._expected: set[int] = set()
        self._waiters: dict[int, Callable[[], object]] = {}
        self._ids = count(1)
        self._on_loops: set[int] = set()
        self._relay: Any = None

    # The main thread

    def take(self) -> bytes | None:
        """The next frame, None when there is no complete one."""
        if not self._reading.acquire(False):
            return self._kept()
        try:
            return self._kept() if self._backlog else self._taken()
        finally:
            self._reading.release()

    def _kept(self) -> bytes | None:
        if not self._backlog:
            return None
        frame: bytes = self._backlog.popleft()
        self._backlog_bytes -= len(frame)
        self._unmark(_BACKLOG, self._backlog)
        return frame

    def _taken(self) -> bytes | None:
        try:
            return self._port.take()
        except MemoryError as error:
            self.refuse(self._port.drop(), error)
            return self._port.take()

    def _unmark(self, mark: int, reason: Any) -> None:
        """Take a mark back unless there is reason for it, also when another thread has just made one."""
        if not reason:
            self._marks.discard(mark)
            if reason:
                self._marks.add(mark)

    def wait(self, deadline: float | None = None) -> None:
        """Wait until there may be a frame or an answer, or until the deadline (of `time.monotonic`)."""
        if not self._reading.acquire(False):
            self._idle.acquire(True, -1 if deadline is None else max(0.0, deadline - monotonic()))
            return
        try:
            if not self._backlog:
                self._read(deadline)
        finally:
            self._reading.release()

    def _read(self, deadline: float | None) -> None:
        if deadline is None or self._port.has_more(max(0.0, deadline - monotonic())):
            try:
                self._port.wait()
            except MemoryError as error:
                self.refuse(self._port.drop(), error)

    def glance(self) -> None:
        """Sort some of what has arrived, as long as not too much of it waits."""
        if self._backlog_bytes < _GLANCE_BYTES:
            self.look_ahead(0, 0.0, _GLANCE_READS)

    def look_ahead(self, until: int, pause: float, most_reads: int = 1 << 30) -> None:
        """For a signal handler: sort what has arrived, up to the word that the call with the id `until` is unwanted.

        Behind large arguments that word comes in a while: within a frame, the next of its bytes may take up to `pause`,
        in seconds. A look takes no more than `_LOOK_SECONDS`, however much is sent meanwhile.
        """
        if not self._reading.acquire(False):
            return  # the thread that reads does it
        end = monotonic() + _LOOK_SECONDS
        try:
            while True:
                self._sort_all()
                if until in self._marks or not most_reads or monotonic() > end:
                    break
                if not self._port.has_more(pause if self._port.buffer.waiting() else 0.0):
                    break
                self._read(None)
                most_reads -= 1
        except PortClosedError:
            return  # found out again when what has come is served
        finally:
            self._reading.release()

    def hand_over(self) -> None:
        """Let another thread read: this one has something else to do."""
        if self._waiters:
            for wake in list(self._waiters.values()):
                wake()
        _release(self._idle)

    @property
    def is_asked(self) -> bool:
        """Whether other threads wait for answers."""
        return bool(self._waiters)

    # Answers

    def expect(self, serving: bool) -> int:
        """A new id for a call of Erlang: negative where no call of Erlang's can be served until its answer is here."""
        id_ = next(self._ids) if serving else -next(self._ids)
        self._expected.add(id_)
        return id_

    def forget(self, id_: int) -> None:
        """Let an answer that comes now pass."""
        self._expected.discard(id_)
        self._answers.pop(id_, None)

    def put(self, message: wire.Message) -> None:
        """Note an answer; one that nobody expects any more is dropped."""
        if message.id in self._expected:
            self._answers[message.id] = message
            wake = self._waiters.get(message.id)
            if wake is not None:
                wake()

    def has(self, id_: int | None) -> bool:
        """Whether that answer is here."""
        return id_ in self._answers

    def result(self, id_: int) -> object:
        """What Erlang answered. Raises what it raised."""
        answer = self._answers.pop(id_)
        self._expected.discard(id_)
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
        self._enter(id_, lambda: _release(woken))
        try:
            self._read_until(lambda: id_ in self._answers, woken, deadline)
        finally:
            self._leave(id_)

    def call_when_answered(self, id_: int, wake: Callable[[], object]) -> None:
        """Call `wake`, in some thread and perhaps more than once, when the answer may be here; `leave` ends that."""
        self._on_loops.add(id_)
        self._enter(id_, wake)
        if self._relay is None:
            from _thread import start_new_thread

            self._relay = allocate_lock()
            start_new_thread(self._read_for_loops, ())
        _release(self._relay)

    def leave(self, id_: int) -> None:
        """The answer was taken, or is not wanted any more."""
        self._on_loops.discard(id_)
        self._leave(id_)
        _release(self._relay)

    def _read_for_loops(self) -> None:
        """The thread that reads for coroutines, which can't wait themselves."""
        while True:
            self._relay.acquire()
            self._enter(0, lambda: _release(self._relay))
            try:
                self._read_until(lambda: not self._on_loops, self._relay, None)
            except PortClosedError:
                return  # the main thread finds out by itself
            finally:
                self._leave(0)

    def _enter(self, id_: int, wake: Callable[[], object]) -> None:
        self._waiters[id_] = wake
        self._marks.add(_OTHERS)

    def _leave(self, id_: int) -> None:
        self._waiters.pop(id_, None)
        self._unmark(_OTHERS, self._waiters)

    def _read_until(self, done: Callable[[], bool], woken: Any, deadline: float | None) -> None:
        """Read for as long as no other thread does, else wait to be woken."""
        while not done():
            if deadline is not None and monotonic() >= deadline:
                raise errors.AnswerTimeoutError("Erlang has not answered in time")
            if self._reading.acquire(False):
                try:
                    if not done():
                        self._read(deadline)
                        self._sort_all()
                finally:
                    self._reading.release()
                    self.hand_over()
            else:
                woken.acquire(True, -1 if deadline is None else max(0.0, deadline - monotonic()))

    def _sort_all(self) -> None:
        while (frame := self._taken()) is not None:
            if not self._is_answer(frame):
                self._backlog.append(frame)
                self._backlog_bytes += len(frame)
                self._marks.add(_BACKLOG)
                unwanted = wire.unwanted(frame)
                if unwanted:
                    self.unwanted(unwanted)

    def _is_answer(self, frame: bytes) -> bool:
        """Whether it was an answer that somebody expects, and is noted; any other keeps its place."""
        if not wire.may_answer(frame) or self.options is None:
            return False
        try:
            message = wire.parse(Reader(frame), self.options)
        except errors.BridgeError:
            return False  # the main thread tells of it
        if message.kind not in ("r", "e") or message.id not in self._expected:
            return False
        self.put(message)
        return True


def _raise(_head: bytes, error: MemoryError) -> None:
    raise error


def _release(lock: Any) -> None:
    try:
        lock.release()
    except RuntimeError:
        return  # it is released already


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
