"""The future of a task: one of `concurrent.futures`, whose result is read where it is asked for."""

from __future__ import annotations

from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any, TypeVar

from erl.link import answers, waiting

if TYPE_CHECKING:
    from erl.link.answers import Answer

T = TypeVar("T")


class Future(waiting.Future[T]):
    """As `concurrent.futures.Future`, with `kill`, which ends a task that runs.

    An exception has the traceback of the worker as its `__cause__`.
    """

    def check_wait(self) -> None:
        """Raises `errors.NodeError` where waiting would be waiting for oneself."""
        if self._link is not None:
            self._link.check_wait()

    def kill(self) -> bool:
        """Cancel the task, also where it runs: it is interrupted, its worker killed where that does not help.

        False where it is over. Else it is cancelled as soon as the node says so.
        """
        if self.done():
            return False
        if self.cancel():
            return True
        task = self._task
        return task is not None and bool(task.kill())

    def answered(self, answer: Answer) -> None:
        """It is over, and nobody has looked into the answer yet."""
        self._answer = answer
        self._task = None
        self._settle(FINISHED, None, None, answer.is_error)

    def _await(self, timeout: float | None) -> None:
        super()._await(timeout)
        if self._answer is not None:
            self._open()

    def _get_snapshot(self) -> Any:  # of Python 3.14, for asyncio
        if self._state == FINISHED and self._answer is not None:
            self._open()
        return super()._get_snapshot()  # type: ignore[misc]

    def _open(self) -> None:
        """Read the answer, once. An interrupt on the way leaves it to be read again."""
        answer = self._answer
        if type(answer) is bytes:
            answer = self._exchange(answer, answers.unopened(self._link, answer))
        if answer is None:
            return
        is_value, found = answer.open()
        if self._answer is not None:
            if is_value:
                self._result = found
            else:
                self._exception = found
            self._answer = None
