"""Waiting that an interrupt may leave at any point.

A `threading.Condition` is Python code: an interrupt in the middle of its `with` leaves its lock taken for ever, and
here the thread that reads for everybody would wait for that. So whoever waits does so at a lock of its own, and who
tells takes none, or not for long.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from concurrent.futures import Future as _Future
from concurrent.futures import TimeoutError as LateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING

from erl import codec

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")
else:
    from typing import TypeVar

    T = TypeVar("T")

_PATIENCE_SECONDS = 1.0
"""A future's lock that is not free for so long was left behind by an interrupt, in code of the standard library's."""


class Gate:
    """Opened by one thread, waited for by others; again and again."""

    __slots__ = ("_waiters", "is_open")

    def __init__(self, is_open: bool = False) -> None:
        self.is_open = is_open
        self._waiters: list[Any] = []

    def open(self) -> None:
        """Let everybody through, from now on."""
        self.is_open = True
        self.wake()

    def wake(self) -> None:
        """Have everybody who waits look again."""
        waiters = self._waiters
        while waiters:
            try:
                waiter = waiters.pop()
            except IndexError:
                return
            waiter.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is open, or somebody wakes; whether it is open."""
        waiter = threading.Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        if not self.is_open:
            waiter.acquire(True, bounded(timeout))
            if waiter in self._waiters:
                try:
                    self._waiters.remove(waiter)
                except ValueError:
                    return self.is_open
        return self.is_open


def is_main() -> bool:
    """Whether this is the main thread, where the handlers of signals run."""
    return threading.get_ident() == threading.main_thread().ident


def bounded(timeout: float | None) -> float:
    """A timeout as a lock takes it."""
    return -1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)


class _Promise:
    """What the compiled `Promise` has, where that is missing."""

    _answer: Any = None
    _task: Any = None
    _link: Any = None

    def _gate(self) -> Gate:
        gate: Gate = self.__dict__.setdefault("_own_gate", Gate())
        return gate

    def _fate(self, wanted: str) -> str:
        """Whether it runs or is cancelled: what was said first."""
        fate: str = self.__dict__.setdefault("_own_fate", wanted)
        return fate

    def _exchange(self, old: object, new: object) -> Any:
        """The answer, which becomes `new` where it was `old`."""
        if self._answer is old:
            self._answer = new
        return self._answer

    def result(self, timeout: float | None = None) -> Any:
        return self._waited(timeout)  # type: ignore[attr-defined]


if TYPE_CHECKING:
    _Base = _Promise
else:
    _Base = codec.Promise or _Promise


class Future(_Base, _Future[T]):
    """As `concurrent.futures.Future`; what waits and what tells can be interrupted anywhere."""

    check_wait: Callable[[], object] | None = None
    """Raises where waiting would be waiting for oneself."""
    _new_gate = Gate

    def begin(self) -> bool:
        """Whether it is still wanted; it can't be cancelled from then on. May be asked again."""
        if self._fate(RUNNING) == RUNNING:
            if self._state == PENDING:
                self._state = RUNNING
            return True
        if self._state == PENDING:
            super().cancel()
        if self._state == CANCELLED:
            self.set_running_or_notify_cancel()
        return False

    def cancel(self) -> bool:
        if self._fate(CANCELLED) != CANCELLED:
            return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)
        super().cancel()
        self._gate().open()
        return True

    def settle(self, value: Any = None, error: BaseException | None = None) -> None:
        """It is over."""
        self._settle(FINISHED, value, error, error is not None)

    def settle_cancelled(self) -> None:
        """It is over, and was cancelled while it ran."""
        self._settle(CANCELLED_AND_NOTIFIED, None, None, False)

    def _settle(self, state: str, value: Any, error: BaseException | None, is_error: bool) -> None:
        if not self.begin():
            return
        lock: Any = self._condition._lock  # type: ignore[attr-defined]
        is_held = lock.acquire(True, _PATIENCE_SECONDS)
        try:
            if self._state not in (PENDING, RUNNING):
                return
            self._result, self._exception, self._state = value, error, state
            for waiter in self._waiters:
                if state != FINISHED:
                    waiter.add_cancelled(self)
                elif is_error:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            if is_held:
                self._condition.notify_all()
        finally:
            if is_held:
                lock.release()
        self._gate().open()
        self._invoke_callbacks()

    def _invoke_callbacks(self) -> None:
        """Call those who wait for it. What one raises is logged, and costs nobody else anything."""
        interrupt: BaseException | None = None
        for callback in self._done_callbacks:  # type: ignore[attr-defined]
            try:
                callback(self)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and is_main():
                    interrupt = error
                    continue
                import logging

                logging.getLogger("concurrent.futures").exception("exception calling callback for %r", self)
        if interrupt is not None:
            raise interrupt

    def _await(self, timeout: float | None) -> None:
        """Wait until it is over."""
        if self._state in (PENDING, RUNNING):
            if self.check_wait is not None:
                self.check_wait()
            self._gate().wait(timeout)
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            raise CancelledError
        if self._state != FINISHED:
            raise LateError

    def _waited(self, timeout: float | None = None) -> T:
        """The result, which may have to be waited for, or to be read."""
        try:
            self._await(timeout)
            if self._exception is not None:
                raise self._exception
            return self._result  # type: ignore[return-value]
        finally:
            self = None  # type: ignore[assignment]  # no circle with an exception's traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._await(timeout)
        found: BaseException | None = self._exception
        return found
