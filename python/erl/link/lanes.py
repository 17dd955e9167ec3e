"""Tasks on their way to a node: those that wait here, and how many may be on their way.

What is sent can't be taken back without asking, so only so many tasks are sent as keep the workers busy: one more than
there are workers at first, more while they are short. What waits here `Future.cancel()` has for nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic

from erl.values import steps

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Protocol

    class Task(Protocol):
        """What is sent, and told what became of it."""

        id: int
        sent: float

        @property
        def payload_bytes(self) -> int:
            """How large it is on the wire."""

        def begin(self) -> bool:
            """Whether it is still wanted; from now on it can't be cancelled. May be asked again."""

        def frame(self, id_: int) -> bytes:
            """What is sent."""

        def done(self, is_trusted: bool, frame: bytes) -> object:
            """It was answered."""

        def failed(self, reason: Any, text: str) -> object:
            """The bridge has failed."""

        def lost(self, error: BaseException) -> object:
            """The node is gone, or the link."""


_SHORT_SECONDS: Final = 0.004
"""Tasks that are answered within that, the wait for a worker included, are short: more of them may be sent."""
_LONG_SECONDS: Final = 0.02
_MOST: Final = 1024
_LARGE_BYTES: Final = 1 << 20


class Lane:
    """The tasks of one pool, in order.

    A signal handler may submit a task while one is submitted, and an exception come at any point: what is taken from
    the queue lies in `_hand` until it is sent, in one step.
    """

    def __init__(
        self,
        workers: int,
        most: int,
        number: Callable[[], int],
        adding: Callable[[bytes], steps.Step],
        has_room: Callable[[], bool],
    ) -> None:
        self._queue: deque[Task] = deque()
        self._hand: list[Task] = []
        self.open: dict[int, Task] = {}
        """Those that were sent, by their ids."""
        self._lock: Any = threading.RLock()
        self._most = min(most, _MOST)
        self._number = number
        self._adding = adding
        self._has_room = has_room
        self.sender: Any = None
        """Sends common tasks in C; None where that is missing."""
        self.window = 0
        self._least = 0
        self.resize(workers)

    def resize(self, workers: int) -> None:
        """The pool has so many workers now."""
        self._least = max(1, min(workers + 1, self._most))
        self.window = max(self.window, self._least)

    @property
    def waiting(self) -> int:
        """How many wait here."""
        return len(self._queue) + len(self._hand)

    def put(self, task: Task, then: steps.Step = ()) -> None:
        """Add a task, and do this, in one step; `feed` sends it."""
        steps.at_once(steps.together(then, steps.each(self._queue.append, task)))

    @property
    def is_busy(self) -> bool:
        """Whether more is on its way than the workers have begun: an answer comes before one of them idles."""
        return len(self.open) > 2 * self._least

    def put_first(self, task: Task) -> None:
        """Add a task that was sent already, and is to be sent again."""
        task.id = 0
        self._queue.appendleft(task)

    def feed(self) -> bool:
        """Have tasks written as long as there is room; whether there was one."""
        fed = False
        while (self._queue or self._hand) and len(self.open) < self.window:
            if self._lock._is_owned():
                return fed  # entered in the middle of it: that goes on
            with self._lock:
                if not self._feed():
                    break
                fed = True
        return fed

    def _feed(self) -> bool:
        """Send what may be sent; whether it was anything, a task that is not wanted any more included."""
        queue, hand, fed = self._queue, self._hand, False
        while len(self.open) < self.window and self._has_room():
            if not hand:
                hand.extend(map(deque.popleft, (queue,) if queue else ()))
                if not hand:
                    break
            task = hand[0]
            if task.payload_bytes >= _LARGE_BYTES and len(self.open) >= self._least:
                break
            if not task.begin():
                hand.clear()
                fed = True
                continue
            if not task.id:
                task.id = self._number()
            frame = task.frame(task.id)
            task.sent = monotonic()
            self.open[task.id] = task
            steps.at_once(steps.together(self._adding(frame), steps.each(hand.clear)))
            fed = True
        return fed

    def answered(self, id_: int) -> Task | None:
        """Take a task that was answered; in the reader's thread."""
        task = self.open.pop(id_, None)
        if task is None:
            return None
        self.learn(monotonic() - task.sent)
        return task

    def learn(self, seconds: float) -> None:
        """A task was answered after that time."""
        if seconds < _SHORT_SECONDS:
            if self._queue:
                # Also where more are open: those that stand behind a slow one say nothing of the others.
                self.window = min(self._most, max(self.window, len(self.open)) + 1)
        elif seconds > _LONG_SECONDS and self.window > self._least:
            self.window = max(self._least, self.window // 2)

    def forget(self, task: Task) -> bool:
        """Take out a task that waits here; whether it did."""
        try:
            self._queue.remove(task)
        except ValueError:
            return False
        return True

    def close(self) -> list[Task]:
        """All tasks that are not over; there will be no others."""
        with self._lock:
            found = [
                *self.open.values(),
                *(task for task in self._hand if task.id not in self.open),
                *self._queue,
            ]
            self.open.clear()
            self._hand.clear()
            self._queue.clear()
        return found
