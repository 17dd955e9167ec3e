"""What could go wrong between the two halves, made to go wrong."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
from typing import Any

import erl


def call(module: str, function: str) -> str:
    """What a call of Erlang without arguments gives, or why it fails."""
    try:
        return repr(erl.call(module, function, []))
    except erl.errors.BridgeError as error:
        return f"{type(error).__name__}: {error}"


def fork_and_print() -> int:
    """A child that prints, casts and leaves; its exit status."""
    child = os.fork()
    if child == 0:
        print("from the child")
        try:
            erl.cast(erl.Atom("nobody"), 1)
        except erl.errors.BridgeError:
            sys.stdout.flush()
            os._exit(7)
        os._exit(8)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def end_of_fork(how: str) -> int:
    """The exit status of a child that leaves its call so."""
    child = os.fork()
    if not child:
        if how == "exit":
            sys.exit(3)
        if how == "text":
            sys.exit("a text in the place of a status")
        if how == "raise":
            raise ValueError("in a child")
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def end_of_fork_later(how: str) -> int:
    return end_of_fork(how)


def square(number: int) -> int:
    return number * number


def squares(numbers: list[int]) -> list[int]:
    """By a pool of forked processes."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(square, numbers)


def send_lock(to: Any) -> str:
    """Casts what can't be pickled, then fails."""
    import threading

    erl.cast(to, threading.Lock())
    raise ValueError("after the cast")


def ask_later(wait_ms: int, term: Any) -> Any:
    """The term, by way of an Erlang function that takes its time."""
    return erl.call("py_recovery_SUITE", "later", [wait_ms, term])


def never_return() -> None:
    """C code that heeds no signal."""
    import collections
    import itertools

    collections.deque(itertools.repeat(None), 0)


def lock() -> Any:
    import threading

    return threading.Lock()


def refuse_to_leave() -> None:
    """The last call of the worker process fails from now on."""
    import erl.calls.worker

    erl.calls.worker.leave = lambda: 1 // 0


def ask_when_leaving() -> None:
    """An exit handler that calls Erlang again and again."""

    def ask() -> None:
        while True:
            call("erlang", "node")

    atexit.register(ask)


def cast_when_leaving() -> None:
    """An exit handler that sends messages again and again."""

    def cast() -> None:
        while True:
            erl.cast(erl.Atom("nobody"), 1)

    atexit.register(cast)
