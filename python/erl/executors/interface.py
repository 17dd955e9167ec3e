"""What all executors of jobs have: tasks that are fed as there is room, jobs that are cancelled, topics."""

from __future__ import annotations

import queue
import socket
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from erl import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future


class Handle:
    """Stands for a scattered object: an argument of `run`, `run_on` and `map`, or the `params` of `run_tasks`.

    A task is given the version of the time when it was sent, however the object is updated meanwhile.
    """

    def __init__(self, key: str, value: Any) -> None:
        self.key = key
        self.version = 1
        self.value = value

    def __repr__(self) -> str:
        return f"<Handle {self.key}, version {self.version}>"


class _Job:
    """One `run_tasks` or `map` that runs: what of it is on its way, and what has come."""

    def __init__(self) -> None:
        self.come: queue.SimpleQueue[Future[Any] | None] = queue.SimpleQueue()
        self.open: set[Future[Any]] = set()
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.end()
        self.come.put(None)

    def end(self) -> None:
        for future in list(self.open):
            kill = getattr(future, "kill", future.cancel)
            kill()


class Executor(ABC):
    """Runs the tasks of jobs. With `with` it is closed at the end. May be used by any thread."""

    def __init__(self) -> None:
        self._jobs: dict[Any, list[_Job]] = {}
        self._subscribed: dict[str, list[Callable[..., object]]] = {}
        self._is_closed = False

    # What each kind of executor does its own way

    @abstractmethod
    def _start(
        self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int
    ) -> Future[Any]:
        """Begin a call, on this worker or on any (None)."""

    is_local = False
    """Whether tasks run in this process, so that they share what it has."""
    is_addressed = True
    """Whether a task can be sent to one worker."""

    @abstractmethod
    def workers(self) -> list[Any]:
        """The workers, for `put` and `run_on`."""

    @abstractmethod
    def put(self, worker: Any, key: Any, obj: Any) -> None:
        """Keep an object in a worker: tasks there find it by `erl.executors.get(key)`."""

    @abstractmethod
    def scatter(self, obj: Any) -> Handle:
        """Have an object at hand for all workers: what stands for it, in arguments and as `params`."""

    def close(self) -> None:
        """End what is the executor's own. What runs is cancelled; what is asked later raises `RuntimeError`."""
        self._is_closed = True
        for jobs in list(self._jobs.values()):
            for job in list(jobs):
                job.cancel()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the executor is closed")

    @property
    def _width(self) -> int:
        """How many tasks of a job are on their way at once."""
        return 2 * max(1, len(self.workers()))

    # What they have in common

    def update(self, handle: Handle, obj: Any) -> None:
        """Put another object in the place of a scattered one, for tasks that are sent from now on."""
        handle.value = obj
        handle.version += 1

    def release(self, handle: Handle) -> None:
        """Give a scattered object up, which no task will be given any more. Those in flight keep it."""
        handle.value = None

    def patch(self, handle: Handle, patch: Any) -> None:
        """Change a scattered object by its method `patch`. Raises `TypeError` for one that has none."""
        if not callable(getattr(handle.value, "patch", None)):
            raise TypeError(f"a {type(handle.value).__name__} has no method patch: update it")
        handle.value.patch(patch)
        self.update(handle, handle.value)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """The future of one call, in any worker."""
        return self._start(None, fn, args, 0)

    def submit_to(self, worker: Any, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """The future of one call in this worker; in any where it is None."""
        return self._start(worker, fn, args, 0)

    def run(self, fn: Callable[..., Any], *args: Any) -> Any:
        """The result of one call, in any worker."""
        return self._start(None, fn, args, 0).result()

    def run_on(self, worker: Any, fn: Callable[..., Any], *args: Any) -> Any:
        """The result of one call in this worker."""
        self._check_worker(worker)
        return self._start(worker, fn, args, 0).result()

    def each_worker(self, fn: Callable[..., Any], *args: Any) -> dict[Any, Any]:
        """The results of one call in each worker, by the workers."""
        futures = {worker: self._start(worker, fn, args, 0) for worker in self.workers()}
        return {worker: future.result() for worker, future in futures.items()}

    def each_host(self, fn: Callable[..., Any], *args: Any) -> dict[str, Any]:
        """The results of one call on each machine, by the machines' names."""
        return {socket.gethostname(): self.run(fn, *args)}

    def resources(self) -> list[dict[str, Any]]:
        """What each machine has: `host`, `cpu` (workers), `cuda`, `service`."""
        return [{"host": socket.gethostname(), "cpu": len(self.workers()), "cuda": 0, "service": 0}]

    def map(
        self, fn: Callable[..., Any], items: Iterable[Any], ordered: bool = True, retries: int = 0
    ) -> Iterator[Any]:
        """`fn(item)` of each item, in their order or as they come; `retries` for tasks whose worker dies."""
        return self._fed(((fn, (item,)) for item in items), None, ordered, retries)

    def run_tasks(
        self, tasks: Iterable[Callable[..., Any]], params: Any, cancel_id: Any, ordered: bool = True
    ) -> Iterator[Any]:
        """The results of `task(params)`, of `task()` where `params` is None; in the tasks' order, or as they come.

        Tasks are taken from their iterable as there is room. `cancel(cancel_id)` ends it: `JobCancelledError`.
        """
        args = () if params is None else (params,)
        return self._fed(((task, args) for task in tasks), cancel_id, ordered, 0)

    def run_calls(
        self,
        calls: Iterable[tuple[Callable[..., Any], tuple[Any, ...]]],
        cancel_id: Any,
        ordered: bool = True,
        retries: int = 0,
    ) -> Iterator[Any]:
        """The results of `fn(*args)` for each `(fn, args)`, as `run_tasks` gives them; any argument may be a handle.

        `retries` for calls whose worker dies and that may run again.
        """
        return self._fed(iter(calls), cancel_id, ordered, retries)

    def _fed(
        self,
        calls: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]],
        id_: Any,
        ordered: bool,
        retries: int,
    ) -> Iterator[Any]:
        job = _Job()
        jobs = self._jobs.setdefault(id_, [])
        jobs.append(job)
        return self._results(job, calls, ordered, retries, id_)

    def _results(
        self,
        job: _Job,
        calls: Iterator[tuple[Callable[..., Any], tuple[Any, ...]]],
        ordered: bool,
        retries: int,
        id_: Any,
    ) -> Iterator[Any]:
        due: deque[Future[Any]] = deque()
        try:
            while True:
                while not job.is_cancelled and len(job.open) < self._width and len(due) < 8 * self._width:
                    call = next(calls, None)
                    if call is None:
                        break
                    future = self._start(None, *call, retries)
                    job.open.add(future)
                    if ordered:
                        due.append(future)
                    future.add_done_callback(job.come.put)
                if job.is_cancelled:
                    raise errors.JobCancelledError(f"the job {id_!r} was cancelled")
                if not (due if ordered else job.open):
                    return
                while ordered and due[0].done():
                    yield self._result(due.popleft(), job)
                    if not due:
                        break
                else:
                    come = job.come.get()
                    if come is not None:
                        job.open.discard(come)
                        if not ordered:
                            yield self._result(come, job)
                    continue
                self._drained(job)
        finally:
            job.end()
            self._over(job, id_)

    @staticmethod
    def _drained(job: _Job) -> None:
        """Take note of all that have come."""
        while not job.come.empty():
            come = job.come.get()
            if come is not None:
                job.open.discard(come)

    @staticmethod
    def _result(future: Future[Any], job: _Job) -> Any:
        job.open.discard(future)
        try:
            return future.result()
        except CancelledError:
            if job.is_cancelled:
                raise errors.JobCancelledError("the job was cancelled") from None
            raise

    def _over(self, job: _Job, id_: Any) -> None:
        jobs = self._jobs.get(id_, [])
        if job in jobs:
            jobs.remove(job)
        if not jobs:
            self._jobs.pop(id_, None)

    def cancel(self, id: Any) -> None:  # noqa: A002
        """Cancel the jobs that run under this id: their `run_tasks` raises `JobCancelledError`."""
        for job in list(self._jobs.get(id, ())):
            job.cancel()

    def subscribe(self, topic: str, f: Callable[..., object]) -> Callable[[], None]:
        """Call `f(topic, message)`, or `f(message)` where it takes one argument, with what tasks publish.

        What it gives back ends that.
        """
        takes_both = _takes_two(f)

        def told(topic: str, message: Any) -> None:
            f(topic, message) if takes_both else f(message)

        self._subscribed.setdefault(topic, []).append(told)

        def unsubscribe() -> None:
            if told in self._subscribed.get(topic, ()):
                self._subscribed[topic].remove(told)

        return unsubscribe

    def _published(self, topic: str, message: Any) -> None:
        for told in list(self._subscribed.get(topic, ())):
            told(topic, message)

    def _check_worker(self, worker: Any) -> None:
        if worker not in self.workers():
            raise ValueError(f"{worker!r} is none of the workers")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _takes_two(function: Callable[..., object]) -> bool:
    import inspect

    try:
        inspect.signature(function).bind("", None)
    except TypeError:
        return False
    except ValueError:  # it does not tell
        return False
    return True
