"""`PoolExecutor`: an executor of `concurrent.futures` over the pools of a node."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import sys
import threading
import time
import weakref
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from erl import codec, errors
from erl.futures import functions, mapping
from erl.futures.future import Future
from erl.futures.pools import Pool
from erl.futures.tasks import Task, payload_of
from erl.link import protocol
from erl.link.waiting import Gate
from erl.values import steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from erl.link.conversation import Link
    from erl.link.lanes import Lane
    from erl.link.node import Node

T = TypeVar("T")

_EXIT_SECONDS = 5.0
"""As long as that, at the exit of the program, tasks that nobody waits for may take."""

_END_SECONDS = 1.0
"""As long as that what runs may take where all else was cancelled; as `kill_after` of pools."""

_executors: weakref.WeakSet[PoolExecutor] = weakref.WeakSet()
_MOST_SECONDS = 4_294_967
"""As many milliseconds as a timer of Erlang's takes."""
_LOOK_SECONDS = 1.0
"""A wait may begin when the last task has just ended."""

_MOST_KNOWN = 256

_is_over = False
_forks = 0
"""How often this process is a fork of one that had executors."""


class PoolExecutor(concurrent.futures.Executor):
    """Runs calls in the workers of a pool.

    `node`  the default node where there is none (`erl.link.default`)
    `pool`  its pool, "default" where there is none
    `max_workers`, `initializer`, `initargs`, `max_tasks_per_child`  a pool of its own, which ends with `shutdown`
    `options`  more options of that pool, by name, as `erl.start` takes them
    `timeout`  seconds that a task may take from when it is sent: `errors.TaskTimeoutError`, and the worker is free
    `retries`  so often a task is sent again whose worker died; then it fails with `errors.WorkerLostError`

    A task that fails, is killed, or loses its worker costs nobody else anything. May be used by any thread.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        node: Node | None = None,
        pool: str | None = None,
        timeout: float | None = None,
        retries: int = 0,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        _check(max_workers, timeout, retries, initializer, max_tasks_per_child)
        is_own = any(each is not None for each in (max_workers, initializer, max_tasks_per_child, options))
        if is_own and pool is not None:
            raise ValueError(
                "an executor with max_workers, an initializer, max_tasks_per_child or options has a pool of its own: "
                "name no pool"
            )
        self._pool = Pool(
            node, pool, max_workers, initializer, initargs, max_tasks_per_child, is_own, options
        )
        self._timeout_ms = None if timeout in (None, float("inf")) else max(1, int(timeout * 1000))
        self._retries = retries
        self._routes: dict[Any, bytes] = {}
        self._way: _Way | None = None
        self._open: set[Future[Any]] = set()
        self._idle = Gate()
        self._is_shut = False
        self._forks = _forks
        _executors.add(self)
        if is_own:
            weakref.finalize(self, self._pool.close).atexit = False

    @property
    def node(self) -> Node:
        """The node that its tasks run on; started where there is none yet."""
        return self._pool.node

    @property
    def pool(self) -> str:
        """The name of its pool."""
        return self._pool.name

    @property
    def _max_workers(self) -> int:  # joblib, dask and others ask for it
        return self._pool.size

    @property
    def _broken(self) -> Any:  # the standard library's tests, and others, look at it
        return self._pool.broken or False

    @property
    def workers(self) -> list[Any]:
        """The pids of its workers, for `submit_to`."""
        return self._pool.workers

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """The future of `fn(*args, **kwargs)`; `fn` may be a dotted name, too."""
        if not kwargs and self._way is not None:
            future = self._submit_now(self._way, fn, args)
            if future is not None:
                return future
        return self._submit(None, fn, args, kwargs)

    def submit_to(self, worker: Any, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """The same on this worker, one of `workers`."""
        return self._submit(worker, fn, args, kwargs)

    def _submit_now(self, way: _Way, fn: Any, args: tuple[Any, ...]) -> Future[Any] | None:
        """The same of a call as most are, that need not wait; None for others."""
        if self._is_shut or _is_over or self._forks != _forks or not self._pool.is_at(way.found):
            return None
        if "erl.tracing" in sys.modules or "opentelemetry.trace" in sys.modules:
            return None
        kind = type(fn)
        if kind is not BuiltinFunctionType and kind is not FunctionType:
            return None
        payload = way.call(fn, args)
        if payload is None:
            return None
        link, lane = way.found
        payload = codec.signed(link.scope.pickles, payload)  # type: ignore[misc]
        future: Future[Any] = Future()
        task = Task(link, lane, way.route, future, (payload, None), self._retries, self._over, self._open)
        return future if link.submit_now(lane, task, future, way.route, payload, self._open) else None

    def _submit(
        self, worker: Any, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], retries: int = 0
    ) -> Future[Any]:
        if not callable(fn) and type(fn) is not str:
            raise TypeError(f"a task is a callable or its dotted name, not {type(fn).__name__}")
        self._check_open()
        pool = self._pool
        link, lane = pool.lane(worker)
        future: Future[Any] = Future()
        if "erl.tracing" in sys.modules or "opentelemetry.trace" in sys.modules:
            fn, args = _in_trace(fn, args)
        try:
            payload = payload_of(link, fn, args, kwargs, pool.path(), pool.by_value, True, pool.refused)
        except Exception as error:
            future.settle(error=error)
            return future
        route = self._routes.get(worker)
        if route is None:
            if len(self._routes) > 1000:
                self._routes.clear()
            route = self._routes[worker] = protocol.route(
                None if worker is not None else pool.name, worker, self._timeout_ms
            )
        found = pool.found
        if worker is None and lane.sender is not None and (self._way is None or self._way.found is not found):
            self._way = None if found is None else _Way(found, route, pool.by_value)
        task = Task(link, lane, route, future, payload, retries or self._retries, self._over, self._open)
        link.submit(lane, task, steps.each(self._open.add, future))
        return future

    def _check_open(self) -> None:
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _is_over:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._forks != _forks:
            raise errors.NodeError(
                "this process was forked from the one that has the executor: make one here"
            )

    def _over(self, future: Future[Any]) -> None:
        """A task's future is about to be done."""
        self._open.discard(future)
        if not self._open and self._is_shut:
            self._idle.wake()

    async def run(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """The result, in a coroutine; where that is cancelled, the task is, also while it runs."""
        future = self.submit(fn, *args, **kwargs)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.kill()
            raise

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """`fn` of the items of all iterables, in order.

        `chunksize` items are one task; where there is none, as many as are worth it. At most `buffersize` tasks are on
        their way or not taken yet, the items behind them are not looked at; None: all are sent at once. `timeout` is in
        seconds, for all of them. An exception comes behind the results of the items before it.
        """
        return mapping.map(self, fn, iterables, timeout, chunksize, buffersize)

    @property
    def _maps_one_by_one(self) -> bool:
        """Whether a chunk would share what is meant for each item."""
        return self._timeout_ms is not None or self._retries > 0

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks. `wait` for those that there are; `cancel_futures` cancels those that have not begun.

        With both, what runs has a second to end, and is killed then: that does not take for ever, whatever tasks do.
        A pool of its own ends with the last of them.
        """
        self._is_shut = True
        if self._forks != _forks:
            return
        if cancel_futures:
            for future in list(self._open):
                if future.cancel():
                    future.begin()
                    self._over(future)
        if wait and not self._pool.is_reader():  # a callback of a future's would wait for itself
            if cancel_futures:
                self._await(time.monotonic() + _END_SECONDS)
                for future in list(self._open):
                    future.kill()
            self._await(None)
            self._pool.close()
        elif self._pool.is_own:
            threading.Thread(target=self._close_later, name="erl-executor-shutdown", daemon=True).start()

    def _close_later(self) -> None:
        self._await(None)
        self._pool.close()

    def _await(self, deadline: float | None) -> None:
        """Wait until nothing is open, or until then."""
        while self._open:
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return
            self._idle.wait(left)

    def __reduce__(self) -> Any:
        raise TypeError(
            "cannot pickle 'PoolExecutor' object: in a task, PoolExecutor() is one on the node of its worker"
        )

    def __repr__(self) -> str:
        return f"<PoolExecutor on {self._pool!r}, {len(self._open)} tasks open>"


class _Way:
    """To the workers of a pool, for calls as most are."""

    __slots__ = ("_by_value", "found", "known", "route")

    def __init__(self, found: tuple[Link, Lane], route: bytes, by_value: bool) -> None:
        self.found = found
        self.route = route
        self.known: dict[Any, tuple[str, str, bytes]] = {}
        """What functions are called that go by their names."""
        self._by_value = by_value

    def call(self, function: Any, args: tuple[Any, ...]) -> bytes | None:
        """The pickle of a call of a function that goes by its name, with numbers and short texts; None for others."""
        assert codec.plain_call is not None
        made = codec.plain_call(self.known, function, args)
        if made is None and function not in self.known:
            entry = functions.named(function, self._by_value)
            if entry is not None:
                if len(self.known) >= _MOST_KNOWN:
                    self.known.clear()
                self.known[function] = entry
                made = codec.plain_call(self.known, function, args)
        return made


def _check(max_workers: Any, timeout: Any, retries: Any, initializer: Any, max_tasks_per_child: Any) -> None:
    if max_workers is not None:
        if type(max_workers) is not int:
            raise TypeError(f"max_workers must be an integer, not {type(max_workers).__name__}")
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks_per_child is not None:
        if type(max_tasks_per_child) is not int:
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
    if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
        raise ValueError("timeout must be a number of seconds greater than 0, or None")
    if timeout is not None and timeout != float("inf") and timeout > _MOST_SECONDS:
        raise ValueError(f"timeout must be {_MOST_SECONDS} seconds at the most, or None")
    if type(retries) is not int or retries < 0:
        raise ValueError("retries must be an integer, at least 0")


def _at_exit() -> None:
    """What was submitted and is not over has some seconds; then the nodes end."""
    global _is_over
    _is_over = True
    left = 0
    deadline = time.monotonic() + _EXIT_SECONDS
    for executor in list(_executors):
        if executor._forks == _forks:
            executor._is_shut = True
            executor._await(deadline)
            left += len(executor._open)
    if left:
        import logging

        logging.getLogger("erl.futures").warning(
            "the program ended %.0f s ago; tasks that were open still, and are given up: %d. "
            "To wait for all, leave the executor by `with`, or call its shutdown()",
            _EXIT_SECONDS,
            left,
        )


def _in_trace(fn: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The task that runs this one in the trace that the program is in, if it is in one."""
    from erl import tracing

    headers = tracing.current()
    return ("erl.calls.tracing.task", (headers, fn, *args)) if headers else (fn, args)


def _in_child() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_in_child)

# As `concurrent.futures` does: before the threads of the program are waited for, and before `atexit`.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
