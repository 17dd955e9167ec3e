"""The executor over a pool of a node: its workers keep what is scattered and put; a dead one costs its task alone."""

from __future__ import annotations

import base64
import concurrent.futures
import itertools
import os
import pickle
import weakref
from typing import TYPE_CHECKING, Any

from erl import errors
from erl.executors import calls
from erl.executors.interface import Executor, Handle
from erl.futures.executor import PoolExecutor
from erl.link import prints
from erl.values import parcels

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from erl.link.node import Node

_numbers = itertools.count(1)
_FORGET_SECONDS = 1.0
_MOST_BYTES = 64 << 20
"""What is larger does not go with each task where shared memory has no room for it."""


class OtpExecutor(Executor):
    """Runs tasks in the workers of a pool.

    `node`     the default node where there is none
    `pool`     its pool, "default" where there is none
    `workers`  so many workers of its own, which end with `close`; `options`: more options of their pool, by name
    """

    def __init__(
        self,
        node: Node | None = None,
        pool: str | None = None,
        workers: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._pool = PoolExecutor(workers, node=node, pool=pool, options=options)
        self._parts: dict[tuple[str, int], tuple[Any, calls.Scattered]] = {}
        self._naming: dict[Future[Any], list[Any]] = {}
        # By a weak reference: who leaves an executor without closing it leaves its pool, which ends then.
        self._hears = _heard_by(weakref.ref(self))
        prints.listeners.append(self._hears)
        weakref.finalize(self, _unheard, self._hears).atexit = False

    @property
    def node(self) -> Node:
        """The node that its pool is of."""
        return self._pool.node

    @property
    def pool(self) -> str:
        """The name of its pool."""
        return self._pool.pool

    def workers(self) -> list[Any]:
        return self._pool.workers

    def scatter(self, obj: Any) -> Handle:
        self._check_open()
        handle = Handle(f"{os.getpid()}-{next(_numbers)}", obj)
        self._sent(handle)
        return handle

    def update(self, handle: Handle, obj: Any) -> None:
        super().update(handle, obj)
        self._sent(handle)
        self._drop(handle, handle.version)

    def release(self, handle: Handle) -> None:
        super().release(handle)
        if self._drop(handle, handle.version + 1) and not self._is_closed:
            self._have_forgotten([handle.key])

    def _drop(self, handle: Handle, version: int) -> bool:
        """Give up what is older: tasks in flight that name it have its memory. Whether any lay in shared memory."""
        keys = [key for key in list(self._parts) if key[0] == handle.key and key[1] < version]
        dropped = [self._parts.pop(key, (None, None)) for key in keys]
        return any(memory is not None for memory, _ in dropped)

    def _have_forgotten(self, keys: list[str]) -> list[Future[Any]]:
        """Ask the workers to let go of what lay in shared memory; one that is busy does so later."""
        try:
            return [self._pool._submit(worker, calls.forget, (keys,), {}, 0) for worker in self.workers()]
        except (errors.BridgeError, RuntimeError):  # the node has ended, or the pool
            return []

    def _sent(self, handle: Handle) -> tuple[Any, calls.Scattered]:
        """A version of an object as workers read it, and the memory that it lies in."""
        link = self.node.link
        write = None if link.scope.memory is None else link.share_parts
        by_value = self.node.path is None
        try:
            head, memory, digest = parcels.packed(handle.value, write, by_value)
        except errors.SharedMemoryError:
            if getattr(handle.value, "nbytes", 0) > _MOST_BYTES:
                raise
            head, memory, digest = parcels.pickled(handle.value, None, by_value), None, b""
        made, sizes = (None, ()) if memory is None else memory
        name = None if made is None else made.name
        found = made, calls.Scattered(handle.key, handle.version, head, name, sizes, digest)
        self._parts[handle.key, handle.version] = found
        return found

    def _start(
        self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int
    ) -> Future[Any]:
        self._check_open()
        named = [each for each in args if isinstance(each, Handle)]
        if not named:
            return self._pool._submit(worker, function, args, {}, retries)
        kept: list[Any] = []
        ready = []
        for each in args:
            if isinstance(each, Handle):
                memory, each = self._parts.get((each.key, each.version)) or self._sent(each)
                kept.append(memory)
            ready.append(each)
        future = self._pool._submit(worker, calls.call, (function, tuple(ready)), {}, retries)
        self._naming[future] = kept
        future.add_done_callback(lambda done: self._naming.pop(done, None))
        return future

    def put(self, worker: Any, key: Any, obj: Any) -> None:
        self._check_worker(worker)
        self._pool._submit(worker, calls.hold, (key, obj), {}, 0).result()

    def _heard(self, line: str) -> bool:
        """Take a published message out of what is printed; whether it was one."""
        if not line.startswith(calls.MARK):
            return False
        try:
            data = base64.b64decode(line[len(calls.MARK) :])
            link = self.node.link
            link.scope.pickles.verify(data)
            topic, message = pickle.loads(data)
        except Exception:
            return False
        self._published(topic, message)
        return True

    def close(self) -> None:
        super().close()
        _unheard(self._hears)
        shared = sorted({key for (key, _), (memory, _) in self._parts.items() if memory is not None})
        self._parts.clear()
        if shared and not self._pool._pool.is_own:
            concurrent.futures.wait(self._have_forgotten(shared), _FORGET_SECONDS)
        self._pool.shutdown(cancel_futures=True)


def _heard_by(executor: weakref.ref[OtpExecutor]) -> Callable[[str], bool]:
    def hears(line: str) -> bool:
        found = executor()
        return found is not None and found._heard(line)

    return hears


def _unheard(hears: Callable[[str], bool]) -> None:
    if hears in prints.listeners:
        prints.listeners.remove(hears)
