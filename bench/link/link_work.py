"""What the workers of bench/link do, and the floor: a socket to `cat`."""

from __future__ import annotations

import pickle
import socket
import subprocess
import threading
import time
from concurrent.futures import Future
from typing import Any

_READ_BYTES = 1 << 18


def nap() -> None:
    """So long that another worker takes the next one."""
    time.sleep(0.02)


def same(value: Any) -> Any:
    return value


def total(array: Any) -> float:
    return float(array.sum())


def each(function: Any, items: Any) -> list[Any]:
    return [function(item) for item in items]


def begun(seconds: float) -> tuple[float, float]:
    """When it has begun and ended, by a clock that all processes share."""
    at = time.monotonic()
    time.sleep(seconds)
    return at, time.monotonic()


class Cat:
    """Requests go to `cat` as pickles and come back as they went: each makes and fulfils a future."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(["cat"], stdin=theirs, stdout=theirs)
        theirs.close()
        self._futures: dict[int, Future[Any]] = {}
        self._next = 0
        threading.Thread(target=self._read, daemon=True).start()

    def submit(self, function: Any, args: tuple[Any, ...]) -> Future[Any]:
        self._next += 1
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._futures[self._next] = future
        body = pickle.dumps((self._next, function, args), 5)
        self._socket.sendall(len(body).to_bytes(4, "big") + body)
        return future

    def _read(self) -> None:
        data = bytearray()
        while more := self._socket.recv(_READ_BYTES):
            data += more
            at = 0
            while len(data) - at >= 4 and len(data) - at - 4 >= (
                size := int.from_bytes(data[at : at + 4], "big")
            ):
                number, _, args = pickle.loads(data[at + 4 : at + 4 + size])
                self._futures.pop(number).set_result(args)
                at += 4 + size
            del data[:at]

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._process.wait()
