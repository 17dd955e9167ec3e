"""What a worker may have to do, the unpleasant things included."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import erl

started = 0
messages: list[Any] = []


def start(path: str) -> None:
    """For `on_start`: notes its process in a file."""
    global started
    started += 1
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")


def times_started() -> int:
    return started


def note_module(name: str) -> None:
    """For `on_start`: notes whether a module was imported before."""
    global started
    started = int(name in sys.modules)


def was_there() -> bool:
    return started == 1


def is_imported(name: str) -> bool:
    return name in sys.modules


def fail_to_start() -> None:
    raise OSError("no such model")


def sleep_and_return(seconds: float, value: Any) -> Any:
    time.sleep(seconds)
    return value


def note_and_sleep(path: str, seconds: float) -> int:
    """Says by a file that it runs, then takes its time; returns the process."""
    Path(path).touch()
    time.sleep(seconds)
    return os.getpid()


def environment() -> tuple[str | None, str]:
    return os.environ.get("PY_WORK"), os.getcwd()


def never_return(path: str | None = None) -> None:
    """C code that heeds no signal; says by a file that it runs."""
    import collections
    import itertools

    if path is not None:
        Path(path).touch()
    collections.deque(itertools.repeat(None), 0)


# Output


def say(text: str, times: int = 1, pause_seconds: float = 0.0) -> int:
    for _ in range(times):
        print(text)
        time.sleep(pause_seconds)
    return os.getpid()


def say_to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


def log(level: str, text: str) -> None:
    import logging

    getattr(logging.getLogger("py_work.here"), level)(text)


def shell(command: str) -> int:
    return os.system(command)


def puts(text: bytes) -> None:
    """C code that prints."""
    import ctypes

    library = ctypes.CDLL(None)
    library.puts(text)
    library.fflush(None)


def write_to_descriptor(descriptor: int, data: bytes) -> int:
    return os.write(descriptor, data)


def stdin_of_a_child() -> int:
    """How much a subprocess reads from its standard input before the end."""
    import subprocess

    script = "import sys; print(len(sys.stdin.read()))"
    child = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, timeout=10, check=True)
    return int(child.stdout)


def read_stdin() -> str:
    return sys.stdin.read()


# Ends


def leave() -> None:
    sys.exit(3)


def leave_at_once(status: int) -> None:
    os._exit(status)


def crash() -> None:
    import ctypes

    ctypes.string_at(0)


# Calls of Erlang


def sum_in_erlang(numbers: list[int]) -> Any:
    return erl.call("lists", "sum", [numbers])


def apply_in_erlang(module: str, function: str, args: list[Any]) -> Any:
    return erl.call(module, function, args)


def error_of(module: str, function: str, args: list[Any]) -> Any:
    try:
        erl.call(module, function, args)
    except erl.errors.ErlangError as error:
        return error.class_, error.reason
    return "no error"


def raise_made_up(class_: Any) -> None:
    raise erl.ErlangError(class_, "made up")


def my_worker() -> Any:
    return erl.self()


def new_reference() -> Any:
    return erl.make_ref()


def countdown(number: int) -> list[int]:
    """Calls itself through Erlang, on this worker, until it is at zero."""
    if number == 0:
        return [0]
    return [number, *erl.call("py_worker_SUITE", "countdown", [erl.self(), number - 1])]


def call_in_a_thread() -> Any:
    """What a call of Erlang outside the main thread gives."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(erl.call("erlang", "node", [])))
    thread.start()
    thread.join()
    return result[0]


def cast_in_a_thread(receiver: Any, message: Any) -> None:
    thread = threading.Thread(target=erl.cast, args=(receiver, message))
    thread.start()
    thread.join()


def keep_messages() -> None:
    erl.set_message_handler(messages.append)


def kept_messages() -> list[Any]:
    return messages


def fail_at_messages() -> None:
    def fail(message: Any) -> None:
        raise ValueError(f"can't handle {message!r}")

    erl.set_message_handler(fail)
