"""The future of a task: one of `concurrent.futures`, whose result is read where it is asked for."""

from __future__ import annotations

from concurrent.futures import CancelledError
from concurrent.futures import Future as _Future
from concurrent.futures import TimeoutError as LateError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from erl.link.answers import Answer

T = TypeVar("T")


class Future(_Future[T]):
    """As `concurrent.futures.Future`, with `kill`, which ends a task that runs.

    An exception has the traceback of the worker as its `__cause__`.
    """

    _task: Any = None
    """What it is sent by, as long as it is not over."""
    _answer: Answer | None = None

    def kill(self) -> bool:
        """Cancel the task, also where it runs: it is interrupted, its worker killed where that does not help.

        False where it is over. Else it is cancelled as soon as the node says so.
        """
        if self.cancel():
            return True
        task = self._task
        return task is not None and bool(task.kill())

    def result(self, timeout: float | None = None) -> T:
        try:
            self._await(timeout)
            return super().result(0)
        finally:
            self = None  # type: ignore[assignment]  # no circle with an exception's traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._await(timeout)
        return super().exception(0)

    def _get_snapshot(self) -> Any:  # of Python 3.14, for asyncio
        if self._state == FINISHED:
            self._open()
        return super()._get_snapshot()  # type: ignore[misc]

    def _await(self, timeout: float | None) -> None:
        if self._state in (PENDING, RUNNING):
            task = self._task
            if task is not None:
                task.check_wait()
            with self._condition:
                if self._state in (PENDING, RUNNING):
                    self._condition.wait(timeout)
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            raise CancelledError
        if self._state != FINISHED:
            raise LateError
        self._open()

    def _open(self) -> None:
        """Read the answer, once. An interrupt on the way leaves it to be read again."""
        answer = self._answer
        if answer is None:
            return
        is_value, found = answer.open()
        with self._condition:
            if self._answer is not None:
                if is_value:
                    self._result = found
                else:
                    self._exception = found
                self._answer = None

    # What a task says of its future, in the thread that reads

    def begin(self) -> bool:
        """Whether it is still wanted; it can't be cancelled from then on. May be asked again."""
        with self._condition:
            if self._state == PENDING:
                self._state = RUNNING
            if self._state == RUNNING:
                return True
        if self._state == CANCELLED:
            self.set_running_or_notify_cancel()
        return False

    def answered(self, answer: Answer) -> None:
        """It is over."""
        with self._condition:
            if self._state not in (PENDING, RUNNING):
                return
            self._answer = answer
            self._state = FINISHED
            self._task = None
            for waiter in self._waiters:
                if answer.is_error:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]  # not in typeshed

    def fail(self, error: BaseException) -> None:
        """It is over, by the bridge's doing."""
        with self._condition:
            self._task = None
            if self._state not in (PENDING, RUNNING):
                is_cancelled = self._state == CANCELLED
            else:
                self.set_exception(error)
                return
        if is_cancelled:
            self.set_running_or_notify_cancel()

    def killed(self) -> None:
        """It was cancelled while it ran."""
        with self._condition:
            self._task = None
            if self._state not in (PENDING, RUNNING):
                return
            self._state = CANCELLED_AND_NOTIFIED
            for waiter in self._waiters:
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]  # not in typeshed
