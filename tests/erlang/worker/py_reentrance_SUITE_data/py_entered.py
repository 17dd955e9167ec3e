"""Handlers that enter while messages are read and written, and calls that nest."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import signal
import sys
import time
from typing import Any

import erl
from erl import errors

_calls: list[object] = []


def bytes_while(what: str, size: int) -> bytes:
    """So many bytes, on whose way a handler does this again and again."""
    done = 0

    def handler(_signal: int, _frame: object) -> None:
        nonlocal done
        done += 1
        mine = done  # others enter here
        if what == "print":
            print("handler", done)
        elif what == "cast":
            erl.cast(erl.self(), ("$handler", done))
        elif what == "log":
            logging.warning("handler %d", done)
        elif what == "call" and done < 400:
            try:
                _calls.append(erl.call("erlang", "abs", [-mine]) == mine)
            except errors.BridgeError as error:
                _calls.append(str(error))
        if done == 400:
            signal.setitimer(signal.ITIMER_REAL, 0)

    _calls.clear()
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    return bytes(size)


def quiet() -> list[object]:
    """No handlers any more; what their calls gave."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    return list(_calls)


def wait_while_handlers_call(milliseconds: int) -> list[object]:
    """Wait in Erlang, while a handler calls Erlang."""
    bytes_while("call", 0)
    erl.call("timer", "sleep", [milliseconds])
    return quiet()


def raise_later(name: str, seconds: float) -> None:
    """Let a handler raise this when the call is over."""
    kind = getattr(__builtins__, name, None) or __builtins__[name]

    def handler(_signal: int, _frame: object) -> None:
        raise kind("from a handler")

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def ask(number: int) -> object:
    return erl.call("py_reentrance_SUITE", "slow", [number])


def down(worker: Any, levels: int) -> int:
    """Through Erlang and back, so many times."""
    if levels == 0:
        return 0
    return 1 + erl.call("py_reentrance_SUITE", "down", [worker, levels - 1])


def recursed(levels: int, milliseconds: int) -> int:
    """Wait in Erlang from deep within."""
    if levels:
        return recursed(levels - 1, milliseconds)
    erl.call("timer", "sleep", [milliseconds])
    return 1


def needs(levels: int) -> int:
    """An innocent neighbour that needs so many frames."""
    return 1 + needs(levels - 1) if levels else 0


def print_at_once(size: int) -> int:
    print("x" * (size - 1))
    return size


def print_much(lines: int) -> list[int]:
    """How much memory printing took, in KiB."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = "x" * 99
    for _ in range(lines):
        print(line)
    return [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]


def as_a_stream() -> list[object]:
    """What a text stream offers."""
    out: Any = sys.stdout
    out.buffer.write(b"bytes\n")
    out.buffer.flush()
    out.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=False)
    print("reconfigured")
    wrapped = io.TextIOWrapper(out.buffer, encoding="utf-8", write_through=True)
    wrapped.write("wrapped ½\n")
    del wrapped
    print("after", end="", flush=True)
    out.buffer.write("½".encode()[:1])
    out.buffer.write("½".encode()[1:])
    return [
        out.encoding,
        out.errors,
        out.mode,
        out.name,
        out.fileno(),
        out.isatty(),
        isinstance(out, io.TextIOWrapper),
    ]


def what_a_child_logs(text: str) -> str:
    """What a forked child that logs has on its standard error."""
    inward, outward = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(outward, 2)
        logging.getLogger("entered").warning("%s", text)
        os._exit(0)
    os.close(outward)
    os.waitpid(child, 0)
    with open(inward, encoding="utf-8") as end:
        return end.read()


def configure_logging(text: str) -> None:
    """Configure `logging` in all ways that take handlers away, then log."""
    erl.logger.warning("before")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True, "root": {"level": "CRITICAL"}})
    logging.basicConfig(force=True, level=logging.CRITICAL, handlers=[logging.NullHandler()])
    erl.logger.warning("%s", text)


def frozen() -> float:
    """Replace the functions of time in all modules, as freezegun does."""
    real = {time.time, time.monotonic, time.sleep, time.perf_counter}
    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()) if hasattr(module, "__dict__") else []:
            if any(value is function for function in real):
                setattr(module, name, lambda *_: 0.0)
    import select

    del select.poll
    os.read = os.write = os.readv = None  # type: ignore[assignment]
    return 1.0


def wait(ms: int) -> object:
    return erl.call("timer", "sleep", [ms])


class Slow:
    """A value that is written by way of Erlang."""

    def __init__(self, ms: int) -> None:
        self.ms = ms


def slow(ms: int) -> Slow:
    return Slow(ms)


def length(value: int) -> int:
    return value


def read_slowly(ms: int) -> int:
    erl.call("timer", "sleep", [ms])
    return ms


def write_slowly(value: Slow) -> int:
    erl.call("timer", "sleep", [value.ms])
    return value.ms
