"""What code in a sandbox tries."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import time
from typing import Any

import erl


def tried(function: Any, *args: Any) -> str:
    """The name of the exception, or "done"."""
    try:
        function(*args)
    except BaseException as error:
        return type(error).__name__
    return "done"


def exists(path: str) -> bool:
    return os.path.lexists(path)


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def try_write(path: str) -> str:
    return tried(write, path, "x")


def try_read(path: str) -> str:
    return tried(read, path)


def try_open(path: str, flags: int) -> str:
    return tried(os.open, path, flags)


def link_out(name: str, target: str) -> str:
    os.symlink(target, name)
    return try_read(name)


def try_connect(port: int) -> list[str]:
    import socket

    return [tried(socket.create_connection, (host, port), 2) for host in ("127.0.0.1", "::1", "localhost")]


def try_resolve() -> str:
    import socket

    return tried(socket.getaddrinfo, "example.com", 80)


def interfaces() -> list[str]:
    import socket

    return [name for _, name in socket.if_nameindex()]


def status() -> dict[str, str]:
    lines = [line.split(":", 1) for line in read("/proc/self/status").splitlines()]
    return {name: value.strip() for name, value in lines}


def rights() -> tuple[Any, ...]:
    now = status()
    return (now["CapEff"], now["CapPrm"], now["NoNewPrivs"])


def user() -> int:
    return os.getuid()


def try_become(user: int) -> str:
    return tried(os.setuid, user)


def try_raise_limits() -> list[str]:
    import resource

    return [
        tried(resource.setrlimit, what, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for what in (resource.RLIMIT_DATA, resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU)
    ]


def holds(path: str, text: str) -> bool:
    try:
        return text in read(path)
    except OSError:
        return False


def environment() -> list[str]:
    return sorted(os.environ)


def descriptors() -> list[str]:
    """What is open in any process of the box that can be looked at."""
    found = []
    for directory in ("/proc/self/fd", "/proc/1/fd"):
        with contextlib.suppress(PermissionError):
            for name in os.listdir(directory):
                with contextlib.suppress(FileNotFoundError):  # that of the list itself
                    found.append(os.readlink(f"{directory}/{name}"))
    return found


def process_numbers() -> list[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


async def await_sum(numbers: list[int]) -> int:
    import asyncio

    await asyncio.sleep(0.01)
    return sum(numbers)


def fork_bomb(most: int) -> int:
    """How many processes there are before a fork fails; each of them forks, too. `most` bounds the test itself."""
    started = 0
    while started < most:
        try:
            child = os.fork()
        except OSError:
            break
        if child == 0:
            try:
                for _ in range(most):
                    if os.fork() == 0:
                        break
            except OSError:
                pass
            time.sleep(30)
            os._exit(0)
        started += 1
    return len(process_numbers())


def memory_bomb() -> None:
    kept = []
    while True:
        kept.append(b"x" * 10_000_000)


def shared_memory_bomb() -> None:
    import mmap

    kept = []
    while True:
        kept.append(mmap.mmap(-1, 10_000_000))
        kept[-1].write(b"x" * 10_000_000)


def memory_bombs(processes: int, each: int) -> None:
    """Each within its limit, all together not."""
    for _ in range(processes):
        if os.fork() == 0:
            kept = b"x" * each
            time.sleep(30)
            os._exit(len(kept) % 1)
    time.sleep(30)


def fill(directory: str) -> str:
    def fill_up() -> None:
        with open(directory + "/fill", "wb") as file:
            for _ in range(1000):
                file.write(b"x" * 10_000_000)
                file.flush()

    try:
        return tried(fill_up)
    finally:
        if os.path.exists(directory + "/fill"):
            os.remove(directory + "/fill")


def spin() -> None:
    while True:
        pass


def spin_on() -> None:
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def leave_child() -> int:
    """A child in a session of its own, which ignores what it can."""
    import signal

    child = os.fork()
    if child == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(60)
        os._exit(0)
    return child


class Opaque:
    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> Any:
        return eval, (f"__import__('builtins').open({self.text!r}, 'w').close()",)


def opaque(path: str) -> Any:
    """An object that, where it is read, writes a file."""
    return Opaque(path)


def key() -> bytes:
    from erl.values.scope import current

    return current().pickles._key or b""


def identity(value: Any) -> Any:
    return value


def lock() -> Any:
    import threading

    return threading.Lock()


def call(module: str, function: str, args: list[Any]) -> str:
    try:
        return repr(erl.call(module, function, args))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def ask_node() -> list[str]:
    from erl import api

    return [tried(erl.node), tried(api.make_ref), tried(api.whereis, "init")]


def cast(to: Any, message: Any) -> None:
    erl.cast(to, message)


def cast_name(name: str, message: Any) -> None:
    erl.cast(erl.Atom(name), message)


# Raw frames


def write_raw(data: bytes) -> None:
    from erl import api

    view = memoryview(data)
    while view:
        view = view[os.write(api._bound()._port._out, view) :]


def send(frame: bytes, times: int = 1) -> None:
    """A frame as it is, past everything that would have looked at it, and then nothing for a while."""
    data = struct.pack(">I", len(frame)) + frame
    for _ in range(times):
        write_raw(data)
    time.sleep(0.2)


def send_and_hang(frame: bytes) -> None:
    send(frame)
    time.sleep(60)


def send_length(length: int) -> None:
    write_raw(struct.pack(">I", length) + b"\x83h\x03")
    chunk = b"\x00" * 65536
    while True:
        write_raw(chunk)


def flood(frame: bytes) -> None:
    data = (struct.pack(">I", len(frame)) + frame) * 100
    while True:
        write_raw(data)


def atoms(prefix: str, count: int) -> list[Any]:
    return [erl.Atom(f"{prefix}_{number}") for number in range(count)]


def print_much(size: int) -> None:
    for _ in range(size // 1000):
        print("x" * 999)


def print_escape() -> None:
    print("red \x1b[31m alert \x9b2J end")


def print_errors(text: str, size: int) -> None:
    sys.stderr.write(text * (size // len(text)))


def send_large_print(size: int) -> None:
    send(b"\x83h\x02w\x01Pm" + struct.pack(">I", size) + b"x" * size)
    time.sleep(60)


def send_empty_lists(number: int, count: int) -> None:
    send(b"\x83h\x03w\x01ra" + bytes([number]) + b"l" + struct.pack(">I", count) + b"j" * (count + 1))


def try_unshare() -> bool:
    import ctypes

    return ctypes.CDLL(None).unshare(0x10000000) == 0


def asked(number: int, *args: int) -> int:
    """The error number of a system call; 0 where it was done."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(number, *[ctypes.c_long(arg) for arg in args])
    return ctypes.get_errno() if result == -1 else 0


def try_chmod(path: str, mode: int) -> str:
    write(path, "x")
    return tried(os.chmod, path, mode)


def try_make(path: str, mode: int) -> str:
    return tried(os.open, path, os.O_CREAT | os.O_WRONLY, mode)


def try_socket(family: int) -> int:
    import socket

    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno or -1
    return 0


def fork_and_thread() -> int:
    import subprocess
    import threading

    threads = [threading.Thread(target=time.sleep, args=(0,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return subprocess.run([sys.executable, "-c", "raise SystemExit(7)"], check=False).returncode


def die() -> None:
    os._exit(3)
