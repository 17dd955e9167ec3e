"""What a runner has of an executor: its workers, tasks for them, the place for what goes between them."""

from __future__ import annotations

import concurrent.futures
import os
from numbers import Real
from typing import TYPE_CHECKING, Any

from erl import executors
from erl.executors.local import over
from erl.link import nodes, sizes

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from erl.executors import Executor
    from erl.link import Node

_MIB = 1 << 20
_LEAST_BYTES = 16 * _MIB
"""Of `max_memory`."""
_NAMES = ("inline", "threads", "pool")


class Engine:
    """An executor as a runner uses it.

    `limit_bytes`  what a worker's memory is limited to, None where it is not known
    `is_own`       it ends with the environment
    `is_local`     the workers are in this process, and what one has all have
    `is_addressed` a task can be sent to a worker, so that partitions stay there
    """

    def __init__(
        self, executor: Executor, is_own: bool, limit_bytes: int | None, size: int | None = None
    ) -> None:
        self.executor = executor
        self.limit_bytes = limit_bytes
        self.is_local = executor.is_local
        self.is_addressed = executor.is_addressed
        self.is_own = is_own
        self._size = size
        self._workers: list[Any] = []

    @property
    def size(self) -> int:
        """How many workers there are."""
        return self._size or len(self.workers())

    def workers(self) -> list[Any]:
        """What the executor calls them; asked for once, and after a loss (`refresh`)."""
        if not self._workers:
            self._workers = list(self.executor.workers())
        return self._workers

    def refresh(self) -> list[Any]:
        """Ask again who the workers are."""
        self._workers = []
        return self.workers()

    def start(self, worker: int | None, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Begin a task, on the worker of this number or on any (None)."""
        handle = None
        if worker is not None and self.is_addressed and not self.is_local:
            workers = self.workers()
            handle = workers[worker % len(workers)]
        return self.executor.submit_to(handle, function, *args)

    @property
    def place(self) -> Any:
        """The driver's place in shared memory (`erl.shared.Place`), None where workers and driver share none."""
        node = getattr(self.executor, "node", None)
        return None if node is None else node.link.scope.memory

    @property
    def by_value(self) -> bool:
        """Whether code of this program must go by value, as the workers have another path."""
        node = getattr(self.executor, "node", None)
        return node is not None and node.path is None

    def close(self) -> None:
        """End the executor, where it is the environment's."""
        if self.is_own:
            self.executor.close()

    def __repr__(self) -> str:
        return type(self.executor).__name__


def engine(
    executor: Executor | concurrent.futures.Executor | str | None,
    node: Node | None,
    resources: tuple[int, int] | None,
) -> Engine:
    """The engine of an environment; `resources` are workers, and bytes for each, as `checked` gives them."""
    if isinstance(executor, concurrent.futures.Executor):
        executor = over(executor)
    if isinstance(executor, executors.Executor):
        return Engine(executor, False, _limit_of(executor))
    if executor not in (None, *_NAMES):
        raise TypeError(
            f"executor is one of erl.executors or concurrent.futures, or one of {', '.join(_NAMES)}, not {executor!r}"
        )
    count, limit = resources or (sizes.processors(), None)
    if executor == "inline":
        return Engine(executors.InlineExecutor(), True, None)
    if executor == "threads":
        return Engine(executors.ConcurrentExecutor.make_local(count), True, None)
    limit = limit or max(_LEAST_BYTES, _memory_bytes() // count)
    # What holds partitions is not replaced. A worker that dies is, at once: a task that kills workers is given up soon.
    restart = {"max": 1_000_000, "within": 1000, "delay": 20, "max_delay": 1000}
    options = {"recycle": "never", "max_memory": limit, "restart": restart}
    made = executors.OtpExecutor(node or nodes.default(), workers=count, options=options)
    return Engine(made, True, limit, count)


def _limit_of(executor: Executor) -> int | None:
    return None


def _is_amount(value: Any) -> bool:
    return isinstance(value, Real) and float(value) > 0


def checked(resources: Any) -> tuple[int, int] | None:
    """Workers, and bytes of memory for each; None where nothing is asked for."""
    if not resources:
        return None
    count, limits = 0, []
    for each in resources:
        if not isinstance(each, dict) or not set(each) <= {"cpu", "ram", "instances"}:
            raise ValueError(f'resources are [{{"cpu": 2, "ram": 1024, "instances": 1}}], not {resources!r}')
        cpu, ram, instances = each.get("cpu", 1), each.get("ram"), each.get("instances", 1)
        if not all(_is_amount(amount) for amount in (cpu, instances, 1 if ram is None else ram)):
            raise ValueError(f"cpu, ram and instances are numbers greater than 0, not {each!r}")
        workers = max(1, round(cpu)) * int(instances)
        count += workers
        if ram is not None:
            limits.append(max(_LEAST_BYTES, int(ram * _MIB / max(1, round(cpu)))))
    return count, min(limits) if limits else 0


def _memory_bytes() -> int:
    """What the machine has, or what the control group gives."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdecimal():
            found = min(found, int(text))
    return found
