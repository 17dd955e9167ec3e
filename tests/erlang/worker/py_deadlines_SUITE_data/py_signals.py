"""User code that takes signals, and then waits for what never comes."""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import IO

from erl.runtime.signals import NUMBERS

_seen: list[int] = []
_kept: list[socket.socket] = []
_files: list[IO[str]] = []


def _note(number: int, _frame: object) -> None:
    _seen.append(number)


def _nowhere() -> IO[str]:
    _files.append(open(os.devnull, "w"))  # noqa: SIM115
    return _files[-1]


def _reset_in_c(numbers: Iterable[int]) -> None:
    import ctypes

    for number in numbers:
        ctypes.pythonapi.PyOS_setsig(number, None)  # SIG_DFL


def _reset_all(numbers: Iterable[int]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


_WAYS: dict[str, Callable[[Iterable[int]], object]] = {
    "default": _reset_all,
    "ignore": lambda numbers: [signal.signal(number, signal.SIG_IGN) for number in numbers],
    "handler": lambda numbers: [signal.signal(number, _note) for number in numbers],
    "faulthandler": lambda numbers: [faulthandler.register(number, _nowhere()) for number in numbers],
    "reset_in_c": _reset_in_c,
    "block": lambda numbers: signal.pthread_sigmask(signal.SIG_BLOCK, numbers),
    "wakeup_fd": lambda _: signal.set_wakeup_fd(_not_blocking()),
}


def _not_blocking() -> int:
    ours, theirs = socket.socketpair()
    _kept.append(theirs)
    ours.setblocking(False)
    return ours.detach()


def _compute() -> None:
    while True:
        pass


def _nap() -> None:
    while True:
        time.sleep(0.001)


def _receive() -> None:
    ours, _theirs = socket.socketpair()
    ours.recv(1)


def _acquire() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


_WAITS: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(60),
    "compute": _compute,
    "nap": _nap,
    "regex": lambda: re.match("(a+)+$", "a" * 40 + "b"),
    "receive": _receive,
    "acquire": _acquire,
}


def take(way: str, which: str) -> None:
    """SIGUSR1; the one that the runtime has taken; or all that it may take."""
    numbers = {
        "usr1": [signal.SIGUSR1],
        "first": [number for number in NUMBERS if "Signals._entered" in str(signal.getsignal(number))],
        "all": [signal.SIGUSR1, *NUMBERS],
    }[which]
    _WAYS[way](numbers)


def take_and_wait(way: str, which: str, wait: str) -> None:
    take(way, which)
    _WAITS[wait]()


def seen() -> list[int]:
    """What has come to the handler here; raises SIGUSR1 first."""
    os.kill(os.getpid(), signal.SIGUSR1)
    return [int(number) for number in _seen]


def in_fork() -> list[int]:
    """What SIGUSR1 and the first number do in a child: 0 what they do in any program, 1 nothing."""
    from_child, to_parent = os.pipe()
    child = os.fork()
    if child == 0:
        does = [signal.getsignal(number) for number in (signal.SIGUSR1, NUMBERS[0])]
        os.write(to_parent, bytes(int(each) if isinstance(each, int) else 9 for each in does))
        os._exit(0)
    os.waitpid(child, 0)
    return list(os.read(from_child, 2))
