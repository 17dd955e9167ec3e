"""What strained calls of the soak test have done in Python: handlers, much output, growth, imports cut short."""

from __future__ import annotations

import gc
import logging
import os
import random
import signal
import sys
import weakref
from pathlib import Path
from typing import Any

import erl
from erl import api

_MOST_INSIDE = 10
_log = logging.getLogger("soak")
_PACKAGE = "import time\nfrom {name} import first\ntime.sleep({pause})\nfrom {name} import second\n"


class Ring:
    """Part of a cycle, so that the garbage collector ends it: at any moment."""

    def __init__(self, end: Any) -> None:
        self.itself = self
        weakref.finalize(self, end)


def entered(size: int, seconds: float, deeds: str) -> bytes:
    """As many bytes, made while a signal's handler and finalizers do those deeds: `p`rint, `l`og, c`a`st, `c`all."""

    def do() -> None:
        deed = random.choice(deeds)
        if deed == "p":
            print("entered")
        elif deed == "l":
            _log.warning("entered")
        elif deed == "a":
            erl.cast(erl.Atom("py_soak_nobody"), "entered")
        elif erl.call("erlang", "abs", [-7]) != 7:
            os._exit(77)

    inside = 0

    def handler(_number: int, _frame: object) -> None:
        # Where it waits for Erlang it is entered again: not until the stack is full.
        nonlocal inside
        if inside < _MOST_INSIDE:
            inside += 1
            try:
                do()
            finally:
                inside -= 1

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        text = bytearray()
        while len(text) < size:
            Ring(lambda: print("ended"))
            if len(text) % 64_000 == 0:
                gc.collect()
            text += b"\x07" * 1_000
        return bytes(text[:size])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def chatter(lines: int) -> int:
    """Print so many lines."""
    for _ in range(lines):
        print("x" * 99)
    return lines


def back(number: int, pause_ms: int) -> int:
    """By way of Erlang, which takes its time: calls that come meanwhile nest."""
    answer: int = erl.call("py_soak_strain", "slow", [number, pause_ms])
    return answer


def grow() -> int:
    """More small objects than there is memory for."""
    held: list[object] = []
    while True:
        held.append([len(held)])


def package(directory: str, name: str, pause: float) -> int:
    """Import a package that takes its time, which a deadline may cut short; one that is whole knows its second half."""
    path = Path(directory) / name
    if not (path / "__init__.py").exists():
        path.mkdir(parents=True, exist_ok=True)
        for part in ("first", "second"):
            (path / f"{part}.py").write_text("value = 21\n")
        whole = path / f".{os.getpid()}"
        whole.write_text(_PACKAGE.format(name=name, pause=pause))
        whole.replace(path / "__init__.py")
    if directory not in sys.path:
        sys.path.append(directory)
    module: Any = __import__(name)
    return int(module.first.value + module.second.value)


def forget(name: str) -> int:
    """Have the package imported anew."""
    for module in [module for module in sys.modules if module == name or module.startswith(f"{name}.")]:
        del sys.modules[module]
    return 0


def flood(data: bytes, times: int) -> int:
    """The same bytes again and again, beside what the server writes."""
    server: Any = api._bound()
    for _ in range(times):
        os.write(server._port._out, data)
    return times
