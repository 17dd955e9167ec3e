"""The executor over several pools of a node of its own: one for each kind of device, as `devices.pools` writes them."""

from __future__ import annotations

import _thread
import contextlib
import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

import erl
from erl import errors
from erl.executors.interface import Executor, Handle
from erl.executors.otp import OtpExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from erl.link.node import Node

CPU: Final = {"CPU": 1, "compute": 1, "ndarray": 1}
"""What a worker without a GPU has."""

_numbers = itertools.count(1)


class Kind:
    """One pool: what its workers have, what they are called."""

    def __init__(self, pool: str, size: int, resources: dict[str, int]) -> None:
        self.pool = pool
        self.size = size
        self.resources = resources
        prefix = pool.replace("_", "-") if "_cuda_" in pool else f"{pool.removesuffix('_cpu')}-cpu"
        self.names = [f"{prefix}-{number}" for number in range(size)]
        self.open = 0
        """How many tasks are on their way there."""

    def serves(self, needed: Mapping[str, int]) -> bool:
        """Whether its workers have what a task needs."""
        return all(self.resources.get(what, 0) >= count for what, count in needed.items())


class PoolsExecutor(Executor):
    """Runs tasks in the pools that `devices.pools` has written, on a node that ends with `close`.

    `pools`     as for `erl.start`
    `needs`     what a task needs of its worker, by its function and arguments; nothing where there is none
    `has_cupy`  whether workers with a GPU take tasks for arrays
    """

    def __init__(
        self,
        pools: dict[str, dict[str, Any]],
        needs: Callable[[Callable[..., Any], tuple[Any, ...]], Mapping[str, int]] | None = None,
        has_cupy: bool = False,
    ) -> None:
        super().__init__()
        if not pools:
            raise ValueError("no cpus and no GPUs: there would be no worker")
        cuda = {"CUDA": 1, "compute": 1, **({"ndarray": 1} if has_cupy else {})}
        self._pools = pools
        self._needs = needs
        self.kinds = [
            Kind(name, options["size"], cuda if "_cuda_" in name else dict(CPU))
            for name, options in pools.items()
        ]
        self._lock = threading.RLock()
        self._counting = (
            threading.Lock()
        )  # apart: a node that is stopped says of its tasks that they are over
        self._node: Node | None = None
        self._end: weakref.finalize[[Node], PoolsExecutor] | None = None
        self._inner: dict[str, OtpExecutor] = {}
        self.up()

    # Its node, which may be down as long as nobody needs it

    def up(self) -> None:
        """Start the node, unless it is there."""
        self._check_open()
        with self._lock:
            if self._node is not None and self._node.is_up:
                return
            self.down()
            self._node = erl.start(self._pools, name=f"executor-{next(_numbers)}")
            self._end = weakref.finalize(self, _given_up, self._node)
            self._end.atexit = False  # all nodes end there
            first: OtpExecutor | None = None
            for kind in self.kinds:
                inner = OtpExecutor(self._node, kind.pool)
                if first is None:
                    # Each hears what the workers of all publish: one is enough.
                    first = inner
                    inner._subscribed = self._subscribed
                # What is scattered is there once, for all of the node.
                inner._parts = first._parts
                self._inner[kind.pool] = inner

    def down(self) -> None:
        """End the node and its workers. What is asked next starts them again."""
        with self._lock:
            node, self._node = self._node, None
            if self._end is not None:
                self._end.detach()
            inner = list(self._inner.values())
            self._inner.clear()
            if node is not None:
                node.stop()  # first: so nothing is waited for
            for each in inner:
                each.close()

    @property
    def node(self) -> Node:
        """The node; started where it is down."""
        with self._lock:
            self.up()
            assert self._node is not None
            return self._node

    def _of(self, kind: Kind) -> OtpExecutor:
        with self._lock:
            self.up()
            return self._inner[kind.pool]

    def close(self) -> None:
        super().close()
        self.down()

    # Workers

    def workers(self) -> list[Any]:
        return [name for kind in self.kinds for name in kind.names]

    def resources(self) -> list[dict[str, Any]]:
        (found,) = super().resources()
        cuda = sum(kind.size for kind in self.kinds if "CUDA" in kind.resources)
        return [{**found, "cpu": found["cpu"] - cuda, "cuda": cuda}]

    def _placed(self, worker: str) -> tuple[OtpExecutor, Any]:
        """Whose worker that is, and its pid at the moment."""
        for kind in self.kinds:
            if worker in kind.names:
                inner = self._of(kind)
                return inner, inner.workers()[kind.names.index(worker)]
        raise ValueError(f"{worker!r} is none of the workers")

    def put(self, worker: Any, key: Any, obj: Any) -> None:
        inner, pid = self._placed(worker)
        inner.put(pid, key, obj)

    # Objects

    def scatter(self, obj: Any) -> Handle:
        return self._of(self.kinds[0]).scatter(obj)

    def update(self, handle: Handle, obj: Any) -> None:
        self._of(self.kinds[0]).update(handle, obj)

    def release(self, handle: Handle) -> None:
        if self._node is not None:
            self._of(self.kinds[0]).release(handle)

    # Tasks

    def _start(
        self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int
    ) -> Future[Any]:
        self._check_open()
        if worker is not None:
            inner, pid = self._placed(worker)
            return inner._start(pid, function, args, retries)
        needed = {} if self._needs is None else self._needs(function, args)
        serving = [kind for kind in self.kinds if kind.serves(needed)]
        if not serving:
            raise ValueError(f"no worker has what a task needs: {dict(needed)}")
        kind = min(serving, key=lambda each: each.open / each.size)
        future = self._of(kind)._start(None, function, args, retries)
        with self._counting:
            kind.open += 1
        future.add_done_callback(lambda _: self._over_in(kind))
        return future

    def _over_in(self, kind: Kind) -> None:
        with self._counting:
            kind.open -= 1


def _given_up(node: Node) -> None:
    """Stop the node of an executor that nobody has any more, in a thread: a finalizer may run in any, at any time."""
    with contextlib.suppress(RuntimeError):  # no thread begins at the end of the program
        _thread.start_new_thread(_stopped, (node,))


def _stopped(node: Node) -> None:
    with contextlib.suppress(errors.BridgeError):
        node.stop()
