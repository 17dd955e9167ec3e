"""Executors without a node: in the calling thread, and over any executor of `concurrent.futures`."""

from __future__ import annotations

import concurrent.futures
import pickle
from typing import TYPE_CHECKING, Any

from erl.executors import calls
from erl.executors.interface import Executor, Handle
from erl.link.sizes import processors
from erl.values import parcels

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


class _Scattering(Executor):
    """Scattered objects are the driver's own: a task is given the object that it was then."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._held: dict[Any, dict[Any, Any]] = {}

    def scatter(self, obj: Any) -> Handle:
        self._number += 1
        return Handle(f"object-{self._number}", obj)

    def patch(self, handle: Handle, patch: Any) -> None:
        if callable(getattr(handle.value, "patch", None)):
            # Tasks in flight have the object itself: they keep that, and a copy is changed.
            handle.value = pickle.loads(parcels.pickled(handle.value))
        super().patch(handle, patch)

    def put(self, worker: Any, key: Any, obj: Any) -> None:
        self._check_worker(worker)
        self._held.setdefault(worker, {})[key] = obj

    def _ready(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(each.value if isinstance(each, Handle) else each for each in args)

    def _local(self, worker: Any) -> calls.Local:
        if worker is None:
            worker = self.workers()[0]
        return calls.Local(self._held.setdefault(worker, {}), self._published)


class InlineExecutor(_Scattering):
    """Runs each task in the calling thread, one after the other: for debugging, and for what is parallel itself.

    `debug`  pickles what a worker would be sent and would send back, so that what can't be pickled shows here
    """

    is_local = True

    def __init__(self, debug: bool = False) -> None:
        super().__init__()
        self._debug = debug

    def workers(self) -> list[Any]:
        return ["inline"]

    @property
    def _width(self) -> int:
        return 1

    def _start(
        self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int
    ) -> Future[Any]:
        self._check_open()
        future: Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        ready = self._ready(args)
        try:
            if self._debug:
                function, ready = pickle.loads(parcels.pickled((function, ready)))
            value = calls.run_local(self._local(worker), function, ready)
            if self._debug:
                value = pickle.loads(parcels.pickled(value))
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(value)
        return future


class ConcurrentExecutor(_Scattering):
    """Runs tasks by an executor of `concurrent.futures`. It is the caller's to shut down, unless `make_local` made it.

    Where that runs them in other processes, `put`, `get` and `publish` are not to be had.
    """

    def __init__(self, executor: concurrent.futures.Executor) -> None:
        super().__init__()
        self._executor = executor
        self._is_own = False
        self._is_threads = isinstance(executor, concurrent.futures.ThreadPoolExecutor)
        self.is_local = self.is_addressed = self._is_threads

    @classmethod
    def make_local(cls, n_threads: int | None = None) -> ConcurrentExecutor:
        """One over so many threads of its own, as many as there are processors where nothing is said."""
        made = cls(concurrent.futures.ThreadPoolExecutor(n_threads or processors()))
        made._is_own = True
        return made

    def workers(self) -> list[Any]:
        count = getattr(self._executor, "_max_workers", None)
        return [f"worker-{number}" for number in range(count if isinstance(count, int) else processors())]

    def _start(
        self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int
    ) -> Future[Any]:
        self._check_open()
        ready = self._ready(args)
        if self._is_threads:
            return self._executor.submit(calls.run_local, self._local(worker), function, ready)
        return self._executor.submit(calls.call, function, ready)

    def close(self) -> None:
        super().close()
        if self._is_own:
            self._executor.shutdown(cancel_futures=True)


def over(executor: concurrent.futures.Executor) -> Executor:
    """An executor of jobs over one of calls, which is the caller's to shut down."""
    from erl.executors.otp import OtpExecutor
    from erl.futures import PoolExecutor

    if isinstance(executor, PoolExecutor):  # its workers keep what is scattered
        return OtpExecutor(executor.node, executor.pool)
    return ConcurrentExecutor(executor)
