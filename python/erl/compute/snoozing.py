"""An executor that is closed when nothing has run for a while, and made anew by what comes next."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from erl.executors import Executor, Handle

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


class Snoozing(Executor):
    """Stands for the executor that `make` makes. What was scattered is sent again after a sleep."""

    def __init__(self, make: Callable[[], Executor], seconds: float) -> None:
        super().__init__()
        if not seconds > 0:
            raise ValueError("snooze_timeout is a number of minutes greater than 0")
        self._make = make
        self._seconds = seconds
        self._lock = threading.Lock()
        self._inner: Executor | None = None
        self._running = 0
        self._last = time.monotonic()
        self._timer: threading.Timer | None = None

    @property
    def is_awake(self) -> bool:
        """Whether there is an executor at the moment."""
        return self._inner is not None

    def _awake(self, running: int = 0) -> Executor:
        """The executor, with so many tasks more that run."""
        self._check_open()
        with self._lock:
            self._last = time.monotonic()
            if self._inner is None:
                self._inner = self._make()
                self._inner._subscribed = self._subscribed
                self._watch(self._seconds)
            self._running += running
            return self._inner

    def _watch(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._lock:
            left = self._last + self._seconds - time.monotonic()
            if self._inner is None or self._is_closed:
                return
            if self._running or left > 0:
                self._watch(max(left, self._seconds / 10))
                return
            inner, self._inner = self._inner, None
        inner.close()

    def _ended(self, _: Future[Any]) -> None:
        with self._lock:
            self._running -= 1
            self._last = time.monotonic()

    def _start(
        self, worker: Any, function: Callable[..., Any], args: tuple[Any, ...], retries: int
    ) -> Future[Any]:
        inner = self._awake(1)
        try:
            future = inner._start(worker, function, args, retries)
        except BaseException:
            with self._lock:
                self._running -= 1
            raise
        future.add_done_callback(self._ended)
        return future

    def workers(self) -> list[Any]:
        return self._awake().workers()

    @property
    def _width(self) -> int:
        return self._awake()._width

    def put(self, worker: Any, key: Any, obj: Any) -> None:
        self._awake().put(worker, key, obj)

    def scatter(self, obj: Any) -> Handle:
        return self._awake().scatter(obj)

    def update(self, handle: Handle, obj: Any) -> None:
        self._awake().update(handle, obj)

    def release(self, handle: Handle) -> None:
        inner = self._inner
        if inner is None:
            handle.value = None
        else:
            inner.release(handle)

    def each_host(self, fn: Callable[..., Any], *args: Any) -> dict[str, Any]:
        return self._awake().each_host(fn, *args)

    def resources(self) -> list[dict[str, Any]]:
        return self._awake().resources()

    def close(self) -> None:
        super().close()
        with self._lock:
            inner, self._inner = self._inner, None
            if self._timer is not None:
                self._timer.cancel()
        if inner is not None:
            inner.close()
