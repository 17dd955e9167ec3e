"""The backend "erl" of joblib: `parallel_config(backend="erl")` has its tasks run in the pools of a node.

joblib knows it as soon as `erl.futures` was imported, before joblib or after it (`erl.futures.joblib_finder`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from joblib._parallel_backends import FallbackToBackend, SequentialBackend
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from erl.futures.executor import PoolExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

    from erl.futures.future import Future


class ErlBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """Batches of joblib's as tasks. What else `parallel_config` is given goes to the `PoolExecutor`.

    `n_jobs` is how many of the pool's workers are used at a time, all of them where nothing is said. Where a task
    fails, those that run are ended, and no worker with them.
    """

    default_n_jobs = -1
    supports_retrieve_callback = True
    supports_inner_max_num_threads = False

    _executor: PoolExecutor | None = None

    def __init__(self, nesting_level: int | None = None, **keywords: Any) -> None:
        super().__init__(nesting_level=nesting_level)
        self._keywords = keywords
        self._open: set[Future[Any]] = set()

    def __reduce__(self) -> Any:
        # It goes to workers with each batch, as what encloses a `Parallel` there.
        return _again, (self.nesting_level,)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many tasks run at a time."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs == 1:
            return 1
        workers = self._made()._max_workers
        if n_jobs is None:
            return workers
        return min(n_jobs, workers) if n_jobs > 0 else max(workers + 1 + n_jobs, 1)

    def _made(self) -> PoolExecutor:
        if self._executor is None:
            self._executor = PoolExecutor(**self._keywords)
        return self._executor

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        """See joblib."""
        number = self.effective_n_jobs(n_jobs)
        if number == 1 and n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        return number

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], object] | None = None) -> Any:
        """See joblib."""
        future = self._made().submit(func)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """See joblib."""
        return out.result()

    def terminate(self) -> None:
        """See joblib. The pool is the node's, or ends with the executor that has one of its own."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """See joblib."""
        for future in list(self._open):
            future.kill()
        if not ensure_ready:
            self.terminate()


def _again(nesting_level: int | None) -> ErlBackend:
    return ErlBackend(nesting_level=nesting_level)
