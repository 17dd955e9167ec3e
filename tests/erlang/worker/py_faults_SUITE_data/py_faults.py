"""What a worker must survive, or die of without harm to others."""

from __future__ import annotations

import concurrent.futures
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import erl

# Notes in files, which tell what has run


def note(path: str, text: Any = "x") -> Any:
    """One line in one write, also when several processes do it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)
    return text


def note_and_sleep(path: str, seconds: float) -> int:
    note(path)
    time.sleep(seconds)
    return os.getpid()


def sleep_and_return(seconds: float, value: Any) -> Any:
    time.sleep(seconds)
    return value


# Calls that nobody wants any more


def loop(begun: str, ended: str) -> None:
    note(begun)
    try:
        while True:
            pass
    finally:
        note(ended)


def sleep(begun: str, ended: str) -> None:
    note(begun)
    try:
        time.sleep(60)
    finally:
        note(ended)


def swallow_exceptions(begun: str, ended: str) -> None:
    note(begun)
    try:
        while True:
            try:
                time.sleep(60)
            except Exception:
                note(ended, "swallowed")
    except erl.errors.CallCancelled:
        note(ended)
        raise


def answer_all_the_same(begun: str, ended: str) -> str:
    note(begun)
    try:
        time.sleep(60)
    except erl.errors.CallCancelled:
        note(ended)
    return "late"


def go_on_forever(begun: str) -> None:
    note(begun)
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def keep_the_interpreter(begun: str) -> None:
    """C code that never returns and lets no other thread run."""
    import collections
    import itertools

    note(begun)
    collections.deque(itertools.repeat(None), 0)


def never_return(begun: str) -> None:
    """C code that never returns, and would let other threads run."""
    mutex = ctypes.create_string_buffer(256)
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    note(begun)
    lock(mutex)


# Ends


def say_and_exit(status: int) -> None:
    print("the first line", file=sys.stderr)
    print("the last words", file=sys.stderr, flush=True)
    os._exit(status)


def say_where_and_exit() -> None:
    """What C code that breaks the process says where many packages are imported, whose names come last."""
    names = ", ".join(f"package.module{number}" for number in range(300))
    sys.stderr.write("Fatal Python error: Bus error\n\nStack (most recent call first):\n  in here\n\n")
    sys.stderr.write(f"Extension modules: {names}\n")
    sys.stderr.flush()
    os._exit(5)


def say_much_and_exit() -> None:
    for number in range(1000):
        print("line", number, file=sys.stderr)
    sys.stderr.flush()
    os._exit(4)


def read_nothing() -> None:
    ctypes.string_at(0)


def read_nothing_in_a_thread() -> None:
    thread = threading.Thread(target=read_nothing)
    thread.start()
    thread.join()


def abort() -> None:
    os.abort()


def end_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def close_the_port(then: str) -> str:
    os.closerange(3, 1024)
    if then == "sleep":
        time.sleep(60)
    return then


def leave(in_a_thread: bool) -> str:
    if not in_a_thread:
        sys.exit("left")
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()
    return "stayed"


# Bytes on the wire


def _wire() -> int:
    """The descriptor that the server writes to, as hostile C code may find it out."""
    from erl import api

    return api._bound()._port._out


def write_to_the_wire(data: bytes) -> str:
    os.write(_wire(), data)
    return "written"


def write_everywhere(data: bytes) -> int:
    """To every descriptor that a program would take for its output; how many took it."""
    library = ctypes.CDLL(None)
    taken = 0
    for descriptor in (1, 2, 3, 4, 5):
        taken += library.write(descriptor, data, len(data)) == len(data)
    library.puts(b"from C")
    library.fflush(None)
    os.system("echo from a shell")
    subprocess.run([sys.executable, "-c", "print('from a subprocess')"], check=True)
    return taken


def read_stdin_of_a_shell(begun: str, path: str) -> int:
    note(begun)
    return os.system(f"sleep 0.3; cat > '{path}'")


def atoms(first: int, count: int) -> list[Any]:
    return [erl.Atom(f"py_faults_{number}") for number in range(first, first + count)]


def echo(value: Any) -> Any:
    return value


def peak_bytes() -> int:
    """The most memory this process has had, proc(5)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no VmHWM")


# Memory


held: list[bytearray] = []


def allocate_for(size: int, seconds: float) -> int:
    data = bytearray(b"\1") * size
    time.sleep(seconds)
    return len(data)


def allocate(size: int, keep: bool) -> int:
    data = bytearray(size)
    if keep:
        held.append(data)
    return len(data)


# Other processes and threads


def square(number: int) -> int:
    return number * number


def _end_resource_tracker() -> None:
    """It serves as long as its process, and nobody but this function needs it."""
    from multiprocessing import resource_tracker

    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def processes(method: str) -> list[int]:
    context: Any = multiprocessing.get_context(method)
    try:
        with context.Pool(2) as pool:
            squares: list[int] = pool.map(square, [1, 2, 3])
        queue = context.SimpleQueue()
        process = context.Process(target=_put, args=(queue, 16))
        process.start()
        squares.append(queue.get())
        process.join()
        queue.close()
        return squares
    finally:
        _end_resource_tracker()


def _put(queue: Any, value: int) -> None:
    queue.put(value)


def executors(kind: str) -> list[int]:
    classes = {
        "threads": concurrent.futures.ThreadPoolExecutor,
        "processes": concurrent.futures.ProcessPoolExecutor,
    }
    try:
        with classes[kind](2) as executor:
            return list(executor.map(square, [1, 2, 3]))
    finally:
        if kind == "processes":
            _end_resource_tracker()


def threads() -> list[int]:
    squares: list[int] = []
    some = [threading.Thread(target=lambda n=n: squares.append(square(n))) for n in (1, 2, 3)]
    for thread in some:
        thread.start()
    for thread in some:
        thread.join()
    return sorted(squares)


def programs() -> list[int]:
    some = [subprocess.Popen(["sh", "-c", f"exit {n}"], stdout=subprocess.PIPE) for n in (1, 2, 3)]
    statuses = [program.wait() for program in some]
    for program in some:
        if program.stdout is not None:
            program.stdout.close()
    return statuses


children: list[Any] = []


def _wait_a_minute() -> None:
    time.sleep(60)


def leave_children(begun: str, seconds: float) -> list[int]:
    """A forked, a spawned and a foreign process that live on, and a thread that nobody joins."""
    for method in ("fork", "spawn"):
        process: Any = multiprocessing.get_context(method).Process(target=_wait_a_minute, daemon=True)  # type: ignore[attr-defined]
        process.start()
        children.append(process)
    children.append(subprocess.Popen(["sleep", "60"]))
    threading.Thread(target=_wait_a_minute, daemon=True).start()
    note(begun)
    time.sleep(seconds)
    return [child.pid for child in children]


def fork_in_the_middle(path: str) -> int:
    """A forked child that does what a worker does at its end; its exit status."""
    child = os.fork()
    if child == 0:
        print("printed by the child")
        try:
            erl.cast(erl.Atom("nobody"), 1)
        except BaseException:
            note(path, "no cast")
        signal.raise_signal(signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def return_in_a_child() -> str:
    """Forks and returns in both: the child must not answer, nor serve on."""
    return "child" if os.fork() == 0 else "parent"


# Values that have killed or hung bridges


class Mute(Exception):
    """Its text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raise_mute() -> None:
    raise Mute


def no_text() -> NoText:
    return NoText()


def nested_list(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def nested_tuple(depth: int) -> Any:
    value: Any = ()
    for _ in range(depth):
        value = (value,)
    return value


def nested_dict(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {1: value}
    return value


def depth(value: Any) -> int:
    levels = 0
    while value:
        value = value[0]
        levels += 1
    return levels


def lock() -> Any:
    return threading.Lock()


def frame() -> Any:
    return sys._getframe()


def utf8_atom() -> Any:
    return erl.Atom("ключ")


def print_much(size: int) -> None:
    print("x" * size)


def print_lines(count: int) -> None:
    for number in range(count):
        print(number)
