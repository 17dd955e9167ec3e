"""User code of the tests of re-entrance: calls, and handlers and finalizers that enter at random points meanwhile."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time
from typing import Any

import erl
from erl import api, errors
from erl.runtime import limits
from erl.terms import Atom

entered: list[str] = []
refused: list[str] = []
wrong: list[object] = []
_random = random.Random()
_numbers = iter(range(1, 1 << 60))
_state: dict[str, Any] = {"raises": False, "kinds": ()}


class StrayError(Exception):
    """What a handler raises."""


def _do(where: str) -> None:
    kind = _random.choice(_state["kinds"])
    number = next(_numbers)
    entered.append(kind)  # in one step: others enter here
    if kind == "print":
        print(f"<{where} {number}>")
    elif kind == "mumble":
        print(f"<{where} {number}>", end="\n" if number % 2 else "\n\n")
    elif kind == "log":
        api._bound().log((Atom("warning"), "entering", str(number), __file__, 1))
    elif kind == "cast":
        erl.cast(Atom("somebody"), (Atom("cast"), number))
    elif kind == "call":
        try:
            value = erl.call("m", "echo", [number])
        except errors.BridgeError as error:
            refused.append(str(error))
        else:
            if value != number:
                wrong.append((number, value))


def _rearm() -> None:
    signal.setitimer(signal.ITIMER_REAL, _random.uniform(0.0002, 0.005))


def _handler(_signal: int, _frame: object) -> None:
    try:
        _do("handler")
    finally:
        _rearm()
    if _state["raises"]:
        raise _random.choice([StrayError, TimeoutError, KeyboardInterrupt])("from a handler")


class Finalized:
    """Acts when it is collected, or let go."""

    def __init__(self, cyclic: bool) -> None:
        self.itself = self if cyclic else None

    def __del__(self) -> None:
        _do("finalizer")


def start(seed: int, kinds: list[str], raises: bool) -> None:
    """Let handlers enter from now on, and finalizers where `litter` makes some."""
    _random.seed(seed)
    _state.update(raises=raises, kinds=[str(kind) for kind in kinds])
    gc.set_threshold(200, 5, 5)
    signal.signal(signal.SIGALRM, _handler)
    _rearm()


def stop() -> list[object]:
    """How often who entered, what was wrong, what was refused."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.set_threshold(700, 10, 10)
    counts = {kind: entered.count(kind) for kind in set(entered)}
    return [counts, list(wrong), sorted(set(refused)), len(refused)]


def bind(most_bytes: int) -> None:
    """Let this process have no more memory than that."""
    limits.memory(most_bytes)


def add(one: int, other: int) -> int:
    return one + other


def litter(number: int) -> int:
    """Leave garbage whose finalizers act, some at once, some when it is collected."""
    Finalized(number % 3 > 0)
    return -number


def big(size: int) -> bytes:
    return bytes(size)


def length(data: bytes) -> int:
    return len(data)


def ask(number: int) -> object:
    return erl.call("m", "echo", [number])


def work(number: int) -> int:
    end = time.monotonic() + 0.0005
    while time.monotonic() < end:
        number += 1
        number -= 1
    return number


def say(number: int) -> int:
    print(f"<call {number}>")
    return number


def trace(on: bool) -> None:
    """Have a trace function see each line, and print now and then."""

    def seen(frame: Any, event: str, _arg: object) -> Any:
        if _random.random() < 0.0005:
            sys.settrace(None)
            _do("trace")
            sys.settrace(seen)
        return seen

    sys.settrace(seen if on else None)


def thread(on: bool) -> None:
    """Another thread that leaves garbage."""
    if not on:
        _state["thread"] = False
        return

    def run() -> None:
        number = 0
        while _state["thread"]:
            number += 1
            litter(number)
            if number % 50 == 0:
                erl.call("m", "echo", [number])
            time.sleep(0.0003)

    _state["thread"] = True
    threading.Thread(target=run, daemon=True).start()
