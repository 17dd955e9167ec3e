"""Bytes that arrive, cut into frames, and frames that leave. Knows the two messages that can't wait for a turn.

Here is what the compiled codec does in one call each (`native_frames.pxi`, `native_outlet.pxi`), in Python. A step may
be entered before or behind, never in the middle, by whoever reads or writes as well: see `erl.values.steps`. Writing
alone is not of one step: who enters there adds to what is pending, and the writer that was entered writes it.
"""

from __future__ import annotations

from _collections import deque  # type: ignore[import-not-found]  # `collections` costs more
from _operator import setitem  # `operator` costs more
from _thread import RLock
from itertools import compress
from struct import Struct

from erl.values import steps
from erl.wire import BUSY, CLOSED, NOTHING

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_FIRST_BYTES = 65536
_LARGE_BYTES = 65536
_MOST_BYTES = 1 << 20
"""What is read at once of a large frame: as much as a pipe holds."""
_DROPPED_HEAD_BYTES = 4096
"""Enough for the id and the names of a call."""
_UNWANTED = b"\x83h\x02d\0\x01Xb"
"""The front of `{'X', Id}` as the application writes it."""


class FrameBuffer:
    """Collects bytes as they come and cuts them into frames.

    An answer that is expected (its id is in `expected`) goes to `answers`, and its id to `answered`; every other frame
    to the backlog, in order, where it stays until `begin`. The ids of unwanted calls go to `marks` and `unwanted`, too.
    """

    def __init__(self, packet: int, first_bytes: int = _FIRST_BYTES) -> None:
        if packet not in (1, 2, 4):
            raise ValueError(f"packet must be 1, 2 or 4 bytes, not {packet!r}")
        self.packet = packet
        self._length_at = Struct({1: ">B", 2: ">H", 4: ">I"}[packet]).unpack_from
        self.backlog: Any = deque()
        self.expected: set[int] = set()
        self.answers: dict[int, bytes] = {}
        self.answered: list[int] = []
        self.unwanted: list[int] = []
        self.marks: set[int] = set()
        self.error = 0
        self._first = max(first_bytes, 64)
        self._raw: list[Any] = []
        """Bytes that no frame was cut from yet. A number in front: so many belong to a frame that was dropped."""
        self._moves = steps.Turn()
        self._taken = steps.Turn()
        self._pop = self.backlog.popleft
        self._reading = RLock()
        self._waits = False
        self.woken = False
        """Other threads end a wait: here they do it by `again` alone."""
        self._begun: memoryview | None = None
        self._system = _System()

    def read(self, fd: int, ms: int = -1, seen: int = -1) -> int:
        """Read once; `ms` milliseconds are waited at most, below 0 without end.

        Above 0 where bytes came; `NOTHING` in time, or where `moves` is not what was seen any more; `CLOSED`, and
        why is `error`; `BUSY`: another thread reads.
        """
        lock = self._reading
        if not lock.acquire(False):
            return BUSY
        outer = self._waits
        try:
            self._waits = True
            if 0 <= seen != self.moves:
                return NOTHING
            # Here it waits, for whoever enters may read as well; what follows is one step, and does not wait.
            if not self._system.is_ready(fd, ms):
                return NOTHING
            wanted, before = self._wanted(), len(self._raw)
            try:
                self._raw.extend(map(self._system.read, self._system.where_ready(fd), (wanted,)))
            except OSError as error:
                if is_of_a_handler(error):
                    raise
                self.error = error.errno or 0
                return CLOSED
            self.error = 0
            if b"" in self._raw:
                return CLOSED
            return NOTHING if len(self._raw) == before else 1
        finally:
            self._waits = outer
            lock.release()

    @property
    def moves(self) -> int:
        """A number that changes whenever frames come to their places."""
        return self._moves.now

    @property
    def turn(self) -> int:
        """How many frames were taken from the backlog; to be read before `next`."""
        return self._taken.now

    def _wanted(self) -> int:
        """How many bytes to read: more where a large frame is coming."""
        have = self.waiting()
        return self._first if have < _LARGE_BYTES else min(max(have, self._first), _MOST_BYTES)

    def again(self) -> None:
        """Let who waits look again: whoever had entered there may have read what it waits for."""
        self._moves.take(self._moves.now)  # or somebody else has changed it
        if self._waits:
            self._system.wake()

    def waiting(self) -> int:
        """How many bytes there are that no frame was made of yet."""
        return sum(len(piece) for piece in self._raw.copy() if type(piece) is not int)

    def next(self) -> bytes | None:
        """The next frame that is no answer somebody waits for, None where it is not here; it stays until `begin`."""
        if not self.backlog:
            self.sort()
        try:
            frame: bytes = self.backlog[0]
        except IndexError:
            return None
        return frame

    def sort(self) -> None:
        """Put each frame that is complete where it belongs."""
        while True:
            seen = self._moves.now
            raw = self._raw.copy()
            if not raw:
                return
            frames, rest = self._cut(raw)
            if not frames and len(rest) == len(raw):
                return
            backlog, answers, unwanted = self._sorted(frames)
            rare: tuple[steps.Step, ...] = ()
            if answers or unwanted:
                rare = (
                    steps.each(self.answers.update, answers),
                    steps.each(self.answered.extend, list(answers)),
                    steps.each(self.marks.update, iter(unwanted)),
                    steps.each(self.unwanted.extend, unwanted),
                )
            moved = steps.each(self.backlog.extend, iter(backlog))
            if self._moves.take(seen, *rare, moved, steps.replaced(self._raw, len(raw), rest)):
                return

    def _cut(self, raw: list[Any]) -> tuple[list[bytes], list[Any]]:
        """All frames that are complete in these pieces, and the pieces that are left."""
        frames: list[bytes] = []
        packet = self.packet
        if raw and type(raw[0]) is int:
            raw = _skipped(raw)
            if raw and type(raw[0]) is int:
                return frames, raw
        while (have := sum(map(len, raw))) >= packet:
            head = bytes(raw[0][:packet])
            if len(head) < packet:
                head = b"".join(raw)[:packet]
            stop = packet + int.from_bytes(head, "big")
            if have < stop:
                break
            if stop <= _LARGE_BYTES:
                small, left = self._small(raw[0] if len(raw) == 1 else b"".join(raw))
                return frames + small, left
            frame, raw = _joined(raw, packet, stop)
            frames.append(frame)
        return frames, raw

    def _small(self, data: bytes) -> tuple[list[bytes], list[bytes]]:
        """The frames in these bytes, and what is left of them."""
        frames: list[bytes] = []
        packet, end, size, length_at = self.packet, 0, len(data), self._length_at
        while end + packet <= size:
            start = end + packet
            stop = start + length_at(data, end)[0]
            if stop > size:
                break
            frames.append(bytes(data[start:stop]))
            end = stop
        return frames, [data[end:]] if end < size else []

    def _sorted(self, frames: list[bytes]) -> tuple[list[bytes], dict[int, bytes], list[int]]:
        """Those for the backlog, the answers that are expected, and the ids of calls that are unwanted."""
        answers: dict[int, bytes] = {}
        if self.expected:
            backlog = []
            for frame in frames:
                id_ = answer_id(frame)
                if id_ is not None and id_ in self.expected:
                    answers[id_] = frame
                else:
                    backlog.append(frame)
        else:
            backlog = frames
        words = [frame for frame in backlog if len(frame) == 12 and frame.startswith(_UNWANTED)]
        return backlog, answers, [int.from_bytes(frame[8:], "big") for frame in words]

    def begin(self, turn: int, then: steps.Step = (), call: bool = False) -> bool:
        """Take the frame that `next` has shown at this `turn`, and do these steps; False where somebody else has."""
        if call and self._begun is not None:
            then = steps.together(then, steps.each(setitem, self._begun, 0, self._begun[0] + 1))
        return bool(self.backlog) and self._taken.take(turn, steps.each(self._pop), then)

    @property
    def backlog_bytes(self) -> int:
        """How many bytes the backlog has."""
        return sum(map(len, self.backlog.copy()))

    def count_begun(self, page: memoryview | None) -> None:
        """Write the number of each call that begins to the first of these words; None: do not.

        Here no call is taken back from what has come: the word says how many were begun.
        """
        self._begun = page

    keeps_limit = False

    def is_held(self) -> bool:
        """Whether the next frame is a call that may not begin."""
        return False

    def refuse_call(self) -> bool:
        """The frame that was dropped was a call; whether it is for us to answer."""
        if self._begun is not None:
            self._begun[0] += 1
        return True

    def drop(self) -> tuple[bytes, int]:
        """Give up the frame at the start, which there is no memory for: its first bytes, and how many are missing."""
        while True:
            seen = self._moves.now
            raw = self._raw.copy()
            have = sum(map(len, raw))
            most = self.packet + _DROPPED_HEAD_BYTES
            head = b""
            for piece in raw:  # no more than that: memory is short
                head += bytes(piece[: most - len(head)])
                if len(head) == most:
                    break
            stop = self.packet + int.from_bytes(head[: self.packet], "big")
            missing = max(0, stop - have)
            rest: list[Any] = [missing] if missing else _after(raw, stop)
            if self._moves.take(seen, steps.replaced(self._raw, len(raw), rest)):
                return head[self.packet : min(stop, self.packet + _DROPPED_HEAD_BYTES)], missing

    def renew(self) -> None:
        """Forget who reads, in a child that was forked, and all that has come."""
        self._reading = RLock()
        self._raw.clear()
        self.backlog.clear()


class Outlet:
    """Writes what is pending to a descriptor, in order."""

    def __init__(self) -> None:
        self.pending: list[bytes] = []
        """Always the same list; a frame's length and the frame are added in one step."""
        self._lock = RLock()
        self._batch: list[bytes] = []
        self._done: list[int] = []
        """What is being written, and how many bytes of it were, noted in the step that writes them."""

    @property
    def is_inside(self) -> bool:
        """Whether this thread is in the middle of `flush`: then what it adds is written later."""
        owned: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # not in typeshed
        return owned

    def flush(self, fd: int) -> int:
        """Write all that is pending, and wait for what another thread is writing; 0, or the error's number."""
        while self.pending or self._batch:
            if self.is_inside:
                return 0
            with self._lock:
                error = self._write(fd)
            if error:
                return error
        return 0

    def _write(self, fd: int) -> int:
        pending, batch, done = self.pending, self._batch, self._done
        while pending or batch:
            if not batch:
                count = _together(pending)
                joined = b"".join(pending[:count]) if count > 1 else pending[0]
                steps.at_once(
                    steps.together(steps.each(batch.append, joined), steps.replaced(pending, count, []))
                )
            view = memoryview(batch[0])[sum(done) :]
            if view:
                try:
                    done.extend(map(_System.write, (fd,), (view,)))
                except OSError as error:
                    if is_of_a_handler(error):
                        raise
                    return error.errno or -1
            else:
                steps.at_once(steps.together(steps.each(batch.pop), steps.replaced(done, len(done), [])))
        return 0

    def renew(self) -> None:
        """Forget who writes, in a child that was forked, and what."""
        self._lock = RLock()
        self.pending.clear()
        self._batch.clear()
        self._done.clear()


class _System:
    """What is needed of the system, kept where nobody replaces it; and a pipe that ends a wait."""

    from fcntl import F_DUPFD_CLOEXEC, fcntl  # type: ignore[misc]
    from os import close, pipe, read, write  # type: ignore[misc]
    from select import POLLIN, poll

    def __init__(self) -> None:
        self._ends: dict[str, list[int]] = {}
        self._polls: dict[int, list[Any]] = {}
        self._look: tuple[int, Any] = (-1, None)

    def is_ready(self, fd: int, ms: int) -> bool:
        """Whether there are bytes, in so many milliseconds; False also where whoever waits is to look again."""
        wake = self._wake_ends()[0]
        polls = self._polls.setdefault(fd, [])
        try:
            poll = polls.pop()  # one object serves one wait at a time
        except IndexError:
            poll = _System.poll()
            poll.register(fd, _System.POLLIN)
            poll.register(wake, _System.POLLIN)
        found = poll.poll(None if ms < 0 else ms)
        polls.append(poll)
        if len(found) == 1 and found[0][0] == fd:
            return True
        ready = [each for each, _ in found]
        if wake in ready:
            _System.read(wake, 4096)
        return fd in ready

    def where_ready(self, fd: int) -> Iterable[int]:
        """A step that gives the descriptor if there are bytes."""
        known, poll = self._look
        if known != fd:
            poll = _System.poll()
            poll.register(fd, _System.POLLIN)
            self._look = fd, poll
        return compress((fd,), map(poll.poll, (0,)))

    def wake(self) -> None:
        """Make `is_ready` return."""
        _System.write(self._wake_ends()[1], b"!")

    def _wake_ends(self) -> list[int]:
        ends = self._ends.get("wake")
        if ends is None:
            # Another thread may be about to wake who waits by the first pipe: one of them is everybody's.
            made = self._new_ends()
            ends = self._ends.setdefault("wake", made)
            if ends is not made:
                for end in made:
                    _System.close(end)
        return ends

    @staticmethod
    def _new_ends() -> list[int]:
        low, high = list(_System.pipe()), []
        try:
            high += [_System.fcntl(low[0], _System.F_DUPFD_CLOEXEC, 100)]
            high += [_System.fcntl(low[1], _System.F_DUPFD_CLOEXEC, 100)]
        except OSError:  # where few are allowed, none has such a number
            low, high = high, low
        for end in low:
            _System.close(end)
        return high


def is_of_a_handler(error: BaseException) -> bool:
    """Whether a function of the system was left by what a signal handler raised, and is none of its own errors."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is not None


def _skipped(raw: list[Any]) -> list[Any]:
    """Without the bytes that belong to a frame that was dropped, whose number is the first element."""
    missing, rest = raw[0], raw[1:]
    while rest and len(rest[0]) <= missing:
        missing -= len(rest[0])
        rest = rest[1:]
    if rest and missing:
        rest[0] = rest[0][missing:]
        missing = 0
    return [missing, *rest] if missing else rest


def _joined(raw: list[Any], start: int, stop: int) -> tuple[bytes, list[Any]]:
    """The bytes from `start` to `stop` of these pieces, each copied once, and the pieces behind them."""
    parts: list[Any] = []
    at = 0
    for number, piece in enumerate(raw):
        end = at + len(piece)
        parts.append(memoryview(piece)[max(0, start - at) : max(0, stop - at)])
        if end >= stop:
            left = piece[len(piece) - (end - stop) :]
            return b"".join(parts), [left, *raw[number + 1 :]] if left else raw[number + 1 :]
        at = end
    raise ValueError("the frame is not complete")


def _after(raw: list[Any], stop: int) -> list[Any]:
    """The pieces without their first `stop` bytes."""
    return _skipped([stop, *raw])


def _together(pending: list[bytes]) -> int:
    """How many of the first are small enough to be copied, and go out in one write; 1 where the first is not."""
    count = size = 0
    for frame in pending.copy():
        size += len(frame)
        if size > _LARGE_BYTES:
            break
        count += 1
    return max(1, count)


def answer_id(frame: bytes) -> int | None:
    """The id of `{r, Id, _}` or `{e, Id, _}`, None for any other frame."""
    if frame[:3] != b"\x83h\x03" or len(frame) < 9:
        return None
    at = {b"w\x01": 5, b"s\x01": 5, b"d\0": 6, b"v\0": 6}.get(frame[3:5], 0)
    if not at or (at == 6 and frame[5] != 1) or frame[at : at + 1] not in (b"r", b"e"):
        return None
    tag, number = frame[at + 1], frame[at + 2 :]
    if tag == 97:
        return number[0]
    if tag == 98:
        return int.from_bytes(number[:4], "big", signed=True)
    if tag == 110 and 0 < number[0] < 8 and number[1] <= 1:
        value = int.from_bytes(number[2 : 2 + number[0]], "little")
        return -value if number[1] else value
    return None
