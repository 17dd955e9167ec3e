"""LiberTEM on pools: an executor of its own kind, over one of `erl.executors`. LiberTEM itself is used as it is."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from libertem.common.exceptions import ExecutorSpecException
from libertem.common.executor import JobCancelledError, NoopCommHandler, SimpleWorkerQueue
from libertem.common.scheduler import Worker, WorkerSet
from libertem.common.snooze import SnoozeManager
from libertem.common.subscriptions import SubscriptionManager
from libertem.executor.base import BaseJobExecutor, ResourceError, make_canonical
from opentelemetry import trace

from erl import errors
from erl.compute import libertem_tasks
from erl.executors import devices
from erl.executors.local import ConcurrentExecutor
from erl.executors.otp import OtpExecutor
from erl.executors.pools import CPU, PoolsExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from erl.executors.interface import Executor, Handle

T = TypeVar("T")


class PoolJobExecutor(BaseJobExecutor):  # type: ignore[misc,unused-ignore]
    """Runs LiberTEM's tasks on an executor of `erl.executors`, in the order of the tasks: as inline, bit by bit.

    `executor`          such as an `OtpExecutor`; whoever made it closes it, unless that was `make_local`
    `retries`           so often a task is sent again whose worker died: LiberTEM's read, and may run twice
    `main_process_gpu`  as LiberTEM's executors have it
    """

    def __init__(self, executor: Executor, *, retries: int = 1, main_process_gpu: int | None = None) -> None:
        if not callable(getattr(executor, "run_calls", None)):
            raise TypeError(f"executor is one of erl.executors, not a {type(executor).__name__}")
        super().__init__(main_process_gpu=main_process_gpu)
        self._executor = executor
        self._retries = retries
        self._is_own = False
        self._subscriptions = SubscriptionManager()
        self._snooze: SnoozeManager | None = None

    @classmethod
    def make_local(
        cls,
        cpus: int | Iterable[int] | None = None,
        gpus: int | Iterable[int] | None = None,
        *,
        snooze_timeout: float | None = None,
        main_process_gpu: int | bool | None = None,
    ) -> PoolJobExecutor:
        """One with a node and pools of its own, which end with `close`: a pool for each kind of device.

        `cpus`, `gpus`    how many workers, or the numbers of their devices; what `devices.detect` finds by default
        `snooze_timeout`  seconds without a task after which the workers end; the next task starts them again

        Raises LiberTEM's `ExecutorSpecException` where there is no GPU, and one is asked for.
        """
        found = devices.detect()
        pools = devices.pools(found["cpus"] if cpus is None else cpus, _gpus(found["cudas"], gpus))
        shared = _numba_env()
        for name, options in pools.items():
            kind = "LIBERTEM_USE_CUDA" if "_cuda_" in name else "LIBERTEM_USE_CPU"
            options["env"] = {**shared, kind: "0", **options.get("env", {})}
        # LiberTEM looks for GPUs with numba, which takes a second.
        gpu = make_canonical(main_process_gpu) if main_process_gpu or found["cudas"] else None
        executor = PoolsExecutor(pools, _needs, found["has_cupy"])
        try:
            made = cls(executor, main_process_gpu=gpu)
            made._is_own = True
            if snooze_timeout is not None:
                made._snooze = SnoozeManager(
                    up=executor.up,
                    down=made._down,
                    timeout=snooze_timeout,
                    subscriptions=made._subscriptions,
                )
        except BaseException:
            executor.close()
            raise
        return made

    @property
    def executor(self) -> Executor:
        """The executor that it runs on."""
        return self._executor

    @property
    def snooze_manager(self) -> SnoozeManager | None:
        """LiberTEM's, where it was made with a `snooze_timeout`."""
        return self._snooze

    def _down(self) -> None:
        """End the workers, unless somebody has come meanwhile."""
        if (
            isinstance(self._executor, PoolsExecutor)
            and self._snooze is not None
            and not self._snooze.keep_alive
        ):
            self._executor.down()

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """The workers are there meanwhile."""
        if self._snooze is None:
            yield
            return
        with self._snooze.in_use():
            self._snooze.unsnooze()
            yield

    # Parameters that all workers are given

    @contextlib.contextmanager
    def scatter(self, obj: Any) -> Iterator[Handle]:
        """Have an object at hand for all workers, as long as this lasts."""
        with self._in_use():
            handle = self._executor.scatter(obj)
            try:
                yield handle
            finally:
                self._executor.release(handle)

    def scatter_update(self, handle: Handle, obj: Any) -> None:
        """Another object for tasks that are sent from now on; those on their way keep the one they name."""
        with self._in_use():
            self._executor.update(handle, obj)

    def scatter_update_patch(self, handle: Handle, patch: Any) -> None:
        """The same for the object changed by its method `patch`. Raises `TypeError` where it has none."""
        with self._in_use():
            self._executor.patch(handle, patch)

    # Tasks

    def run_tasks(
        self,
        tasks: Iterable[Any],
        params_handle: Handle,
        cancel_id: Any,
        task_comm_handler: Any = None,
    ) -> Iterator[tuple[Any, Any]]:
        """The result of each task, and that task, in the order of the tasks. They are sent as there is room.

        Raises LiberTEM's `JobCancelledError` where it is cancelled, its `ResourceError` before anything is sent where
        no worker has what a task needs.
        """
        listed = list(tasks)
        self._check_resources(listed)
        handler = NoopCommHandler() if task_comm_handler is None else task_comm_handler
        messages = SimpleWorkerQueue()
        topic = f"libertem-{uuid.uuid4().hex}"
        span = trace.get_current_span().get_span_context()
        more = (topic, span if span.is_valid else None, self._is_threaded())
        calls = ((libertem_tasks.run_task, (task, params_handle, *more)) for task in listed)
        with self._in_use():
            unsubscribe = self._executor.subscribe(topic, lambda message: messages.put(message))
            results = self._executor.run_calls(calls, cancel_id, retries=self._retries)
            try:
                with handler.monitor(messages):
                    for task in listed:
                        yield next(results), task
            except errors.JobCancelledError:
                raise JobCancelledError from None
            finally:
                results.close()  # type: ignore[attr-defined]
                unsubscribe()

    def cancel(self, cancel_id: Any) -> None:
        """End the tasks that run under this id; their `run_tasks` raises LiberTEM's `JobCancelledError`."""
        self._executor.cancel(cancel_id)

    def run_each_partition(
        self, partitions: Iterable[Any], fn: Callable[[Any], T], all_nodes: bool = False
    ) -> Iterator[T]:
        """`fn(partition)` of each, in their order; with `all_nodes` of those alone that lie on certain machines."""
        chosen = [each for each in partitions if not all_nodes or each.get_locations() is not None]
        with self._in_use():
            yield from self._executor.map(fn, chosen, retries=self._retries)

    def run_function(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """The result of one call, in any worker."""
        with self._in_use():
            result: T = self._executor.run(_with(fn, kwargs), *args)
            return result

    def map(self, fn: Callable[[Any], T], iterable: Iterable[Any]) -> list[T]:
        """`fn` of each item, in any worker."""
        with self._in_use():
            return list(self._executor.map(fn, iterable))

    def run_each_host(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> dict[str, T]:
        """The results of one call on each machine, by the machines' names."""
        with self._in_use():
            return self._executor.each_host(_with(fn, kwargs), *args)

    def run_each_worker(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> dict[str, T]:
        """The results of one call in each worker, by the workers' names."""
        with self._in_use():
            results = self._executor.each_worker(_with(fn, kwargs), *args)
        return {self._name(index, worker): result for index, (worker, result) in enumerate(results.items())}

    def warm_up(self, dataset: Any = None) -> dict[str, float]:
        """Have each worker load LiberTEM, and compile what sums frames and applies masks, by a frame of `dataset`.

        One worker goes first: what it has compiled lies in the cache that they share. The seconds that each took.
        """
        with self._in_use():
            workers = self._executor.workers()
            call = functools.partial(libertem_tasks.warm_up, dataset)
            taken = {workers[0]: self._executor.run_on(workers[0], call)}
            futures = {each: self._executor._start(each, call, (), 0) for each in workers[1:]}
            taken |= {worker: future.result() for worker, future in futures.items()}
        return {self._name(index, worker): taken[worker] for index, worker in enumerate(workers)}

    # Workers

    def _name(self, index: int, worker: Any) -> str:
        return worker if isinstance(worker, str) else f"default-cpu-{index}"

    def _is_threaded(self) -> bool:
        executor = self._executor
        if isinstance(executor, OtpExecutor):
            threads = executor.node.link.threads
            return bool(threads.get(executor.pool, 1) != 1)
        return isinstance(executor, ConcurrentExecutor)

    def get_available_workers(self) -> WorkerSet:
        """LiberTEM's set of the workers, with what each has."""
        (host, *_) = (each["host"] for each in self._executor.resources())
        if isinstance(self._executor, PoolsExecutor):
            named = [(name, kind.resources) for kind in self._executor.kinds for name in kind.names]
        else:
            named = [(self._name(*each), CPU) for each in enumerate(self._executor.workers())]
        return WorkerSet([Worker(name, host, dict(resources), 1) for name, resources in named])

    def get_resource_details(self) -> list[dict[str, Any]]:
        """How many workers of each kind each machine has."""
        return self._executor.resources()

    def _check_resources(self, tasks: list[Any]) -> None:
        workers = self.get_available_workers()
        for task in tasks:
            needed = task.get_resources()
            if not any(
                all(worker.resources.get(what, 0) >= count for what, count in needed.items())
                for worker in workers
            ):
                raise ResourceError("Requested resources not available in cluster:", needed)

    # Events and the end

    def subscribe(self, topic: Any, callback: Callable[[str, dict[str, Any]], None]) -> Any:
        """Call `callback(topic, message)` for the executor's events, such as those of snoozing."""
        return self._subscriptions.subscribe(topic, callback)

    def unsubscribe(self, key: str) -> bool:
        """End a subscription; whether there was one."""
        return bool(self._subscriptions.unsubscribe(key))

    def close(self) -> None:
        """End what `make_local` has started."""
        if self._snooze is not None:
            self._snooze.close()
        if self._is_own:
            self._executor.close()

    def __enter__(self) -> PoolJobExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _with(fn: Callable[..., T], kwargs: dict[str, Any]) -> Callable[..., T]:
    return functools.partial(fn, **kwargs) if kwargs else fn


def _needs(function: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, int]:
    """What a call of LiberTEM's needs of its worker."""
    if function is not libertem_tasks.run_task:
        return {}
    needed: dict[str, int] = args[0].get_resources()
    return needed


def _gpus(found: list[int], asked: int | Iterable[int] | None) -> list[int]:
    """The GPUs that workers use; so many share those that there are, as LiberTEM's do."""
    if asked is None:
        return found
    if isinstance(asked, int):
        if asked and not found:
            raise ExecutorSpecException("Cannot specify GPU workers as no GPUs detected")
        return [found[number % len(found)] for number in range(asked)]
    return list(asked)


def _numba_env() -> dict[str, str]:
    """Where numba keeps what it has compiled: one place for all workers, of this user alone, since it holds code."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return {}
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    directory = Path(cache, "erl-bridge", "numba")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError:
        return {}
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return {"NUMBA_CACHE_DIR": str(directory)} if is_ours else {}
