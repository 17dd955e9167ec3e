"""Tasks of a stage on their way: few for each worker at a time, so that what fails ends the others soon.

What becomes of a task is told to whoever has the work (`Work`). A worker that dies costs its task another attempt; a
task whose worker dies again and again is given up.
"""

from __future__ import annotations

import queue
import sys
from collections import deque
from concurrent.futures import BrokenExecutor, CancelledError
from concurrent.futures import wait as wait_for
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol

from erl import errors
from erl.dataflow import tasks
from erl.dataflow.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from typing import Final

    from erl.dataflow.engines import Engine
    from erl.dataflow.report import Report

    class Work(Protocol):
        """What is done partition by partition."""

        text: str

        def worker(self, index: int) -> int | None:
            """The worker that a partition's task is for; any for None."""

        def job(self, index: int, worker: int | None) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            """What is called there."""

        def done(self, index: int, worker: int | None, token: str, made: Any) -> None:
            """It is over."""

        def again(self, index: int, worker: int | None, answer: tuple[Any, ...]) -> None:
            """It lacked something, as its answer says, which is to be there at the next attempt."""

        def lost(self, index: int, worker: int | None) -> None:
            """Its worker has died."""

        def raised(self, index: int, answer: tuple[Any, ...]) -> BaseException:
            """What is raised for what a function has raised."""

        def stop(self) -> None:
            """Nobody wants what still runs."""


_HAND: Final = 2
"""Tasks of one worker: one that runs, one that waits."""
_MOST_DEATHS: Final = 4
_MOST_ATTEMPTS: Final = 100
_END_SECONDS: Final = 15.0
_AT_ONCE_SECONDS: Final = 0.05
_PATIENCE_SECONDS: Final = 60.0
"""So long a worker may refuse what it is sent, since others of a pool that is shared have killed it too often."""


def run(work: Work, indices: Iterable[int], engine: Engine, report: Report, name: str) -> None:
    """Run the tasks of these partitions. Raises what one of them raises, when the others have ended."""
    loop = _Loop(work, sorted(indices), engine, report, name)
    start = monotonic()
    try:
        loop.run()
    finally:
        report.seconds += monotonic() - start


class _Loop:
    def __init__(self, work: Work, indices: list[int], engine: Engine, report: Report, name: str) -> None:
        self._work = work
        self._indices = indices
        self._engine = engine
        self._report = report
        self._progress = Progress(name, work.text, len(indices))
        self._come: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._open: dict[Future[Any], tuple[int, int | None]] = {}
        self._load: dict[int | None, int] = {}
        self._waiting: dict[int | None, deque[int]] = {}
        self._deaths: dict[int, int] = {}
        self._started: dict[int, float] = {}
        self._last_death = 0.0
        self._refused_since: float | None = None
        self._attempts: dict[int, int] = {}
        self._texts: dict[int, str] = {}
        self._unprinted = deque(indices)
        self._left = set(indices)

    def run(self) -> None:
        try:
            for index in self._indices:
                self._wait(index)
            while self._left:
                self._feed()
                self._settle(self._come.get())
                while not self._come.empty():
                    self._settle(self._come.get())
        except BaseException:
            self._end()
            raise
        finally:
            self._progress.over()
            self._print(True)

    def _wait(self, index: int) -> None:
        self._waiting.setdefault(self._work.worker(index), deque()).append(index)

    def _feed(self) -> None:
        for worker in list(self._waiting):
            if worker is None:
                continue
            self._give(worker, self._waiting[worker])
        anywhere = self._waiting.get(None)
        if not anywhere:
            return
        if self._engine.is_local or not self._engine.is_addressed:
            most = _HAND * self._engine.size
            while anywhere and len(self._open) < most:
                self._start(anywhere.popleft(), None)
            return
        numbers = range(self._engine.size)
        while anywhere:
            worker = min(numbers, key=lambda number: self._load.get(number, 0))
            if self._load.get(worker, 0) >= _HAND:
                return
            self._start(anywhere.popleft(), worker)

    def _give(self, worker: int, indices: deque[int]) -> None:
        while indices and self._load.get(worker, 0) < _HAND:
            self._start(indices.popleft(), worker)

    def _start(self, index: int, worker: int | None) -> None:
        function, args = self._work.job(index, worker)
        future = self._engine.start(worker, function, *args)
        self._open[future] = index, worker
        self._started[index] = monotonic()
        self._load[worker] = self._load.get(worker, 0) + 1
        future.add_done_callback(self._come.put)

    def _settle(self, future: Future[Any]) -> None:
        index, worker = self._open.pop(future)
        self._load[worker] -= 1
        try:
            answer = future.result()
        except errors.NodeDownError:
            raise
        except BrokenExecutor as error:
            self._lost(index, worker, error)
            return
        kind, token = answer[0], answer[1]
        if kind == tasks.DONE:
            _, _, made, text, spilled = answer
            self._report.tasks += 1
            self._report.spilled_bytes += spilled
            self._texts[index] = text
            self._left.discard(index)
            self._work.done(index, worker, token, made)
            self._progress.done(len(self._indices) - len(self._left))
            self._print(False)
        elif kind == tasks.RAISED:
            self._texts[index] = answer[-1]
            raise self._work.raised(index, answer)
        else:
            self._attempts[index] = self._attempts.get(index, 0) + 1
            if self._attempts[index] > _MOST_ATTEMPTS:
                raise errors.WorkerLostError(
                    f"{self._work.text}, partition {index}: what it needs was lost again and again"
                )
            self._work.again(index, worker, answer)
            self._wait(index)

    def _lost(self, index: int, worker: int | None, error: BaseException) -> None:
        now = monotonic()
        if now - self._started[index] < _AT_ONCE_SECONDS and now - self._last_death < _PATIENCE_SECONDS:
            self._refused(index, now, error)
            return
        self._last_death = now
        self._refused_since = None
        self._deaths[index] = self._deaths.get(index, 0) + 1
        if self._deaths[index] >= _MOST_DEATHS:
            raise errors.WorkerLostError(
                f"{self._work.text}, partition {index}: {_MOST_DEATHS} workers have died of it. The last: {error}"
            ) from error
        self._work.lost(index, worker)
        self._wait(index)

    def _refused(self, index: int, now: float, error: BaseException) -> None:
        """A worker that has died often fails what it is sent, for a while: nothing has begun."""
        self._refused_since = self._refused_since or now
        if now - self._refused_since > _PATIENCE_SECONDS:
            raise errors.WorkerLostError(f"{self._work.text}, partition {index}: {error}") from error
        sleep(_AT_ONCE_SECONDS)
        self._work.lost(index, None)
        self._wait(index)

    def _end(self) -> None:
        """Have what still runs end, and wait until it has."""
        self._work.stop()
        for future in list(self._open):
            kill = getattr(future, "kill", future.cancel)
            try:
                kill()
            except (RuntimeError, errors.BridgeError):
                continue
        try:
            wait_for(list(self._open), _END_SECONDS)
        except CancelledError:
            return

    def _print(self, is_over: bool) -> None:
        """Print what tasks have printed, in the order of the partitions, as far as they are over."""
        texts: list[str] = []
        while self._unprinted:
            text = self._texts.pop(self._unprinted[0], None)
            if text is None:
                if not is_over:
                    break
            elif text:
                texts.append(text)
            self._unprinted.popleft()
        if texts:
            sys.stdout.write("".join(texts))
            sys.stdout.flush()
