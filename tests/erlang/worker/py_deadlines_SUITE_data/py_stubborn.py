"""Calls that do not end when they are told to.

The inner loops are within what swallows: an exception may enter where a loop begins again, and would end one around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from typing import Any

import erl
from erl import api

SUITE = "py_deadlines_SUITE"


def ask(milliseconds: int) -> None:
    """Wait for Erlang, again and again."""
    while True:
        with contextlib.suppress(BaseException):
            while True:
                erl.call("timer", "sleep", [milliseconds])


def ask_much() -> None:
    """Questions that are answered at once."""
    while True:
        with contextlib.suppress(BaseException):
            while True:
                erl.call("erlang", "phash2", [1])


def say() -> None:
    while True:
        try:
            while True:
                print("here")
                time.sleep(0.001)
        except BaseException:
            pass


def nest(worker: Any, seconds: float) -> None:
    """Calls of its own, made by what it asks."""
    while True:
        with contextlib.suppress(BaseException):
            while True:
                erl.call(SUITE, "sleep_in", [worker, seconds])


def spawn() -> None:
    def loop() -> None:
        while True:
            time.sleep(0.01)

    while True:
        try:
            while True:
                thread = threading.Thread(target=loop, daemon=True)
                thread.start()
                thread.join(0.05)
        except BaseException:
            pass


def ask_in_threads() -> None:
    def loop() -> None:
        while True:
            erl.call("timer", "sleep", [10])

    for _ in range(4):
        threading.Thread(target=loop, daemon=True).start()
    while True:
        with contextlib.suppress(BaseException):
            while True:
                time.sleep(60)


async def swallow() -> None:
    while True:
        with contextlib.suppress(BaseException):
            while True:
                await asyncio.sleep(60)


async def swallow_and_ask() -> None:
    while True:
        with contextlib.suppress(BaseException):
            while True:
                await erl.acall("timer", "sleep", [50])


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def give_up_interruptions(seconds: float) -> int:
    """Wait with the signal's own way to end a process, in pieces that are no wait for Erlang."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    signal.signal(signal.SIGUSR1, before)
    return os.getpid()


def block_interruptions(seconds: float) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    time.sleep(seconds)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    return os.getpid()


def note(name: str, worker: Any, number: int | None, seconds: float) -> None:
    """Tell the worker of this call, or of a question, what the runtime does, and let no exception through."""
    if number is None:
        number = api._bound()._state.current  # type: ignore[attr-defined]
    erl.cast(worker, (erl.Atom(name), number))
    until = time.monotonic() + seconds
    # Nearly always in the sleep: outside of it an interruption would end the call.
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(BaseException):
            time.sleep(left)


def drop_question(worker: Any) -> Any:
    """Say, from another thread, that the question that is open is not wanted."""

    def drop() -> None:
        time.sleep(0.2)
        for number in range(1, 1000):
            erl.cast(worker, (erl.Atom("$py.dropped"), number))

    threading.Thread(target=drop, daemon=True).start()
    return erl.call(SUITE, "wait_and_note", [])


def call_back(function: str, *args: Any) -> Any:
    return erl.call(SUITE, function, list(args))


def deeper(worker: Any, levels: int) -> Any:
    return erl.call(SUITE, "deeper", [worker, levels])


class Dropped:
    """Takes its time to end."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __del__(self) -> None:
        sleep(self.seconds)


def drop(seconds: float) -> None:
    """Half of the time in finalizers."""
    while True:
        Dropped(seconds)
        sleep(seconds)
