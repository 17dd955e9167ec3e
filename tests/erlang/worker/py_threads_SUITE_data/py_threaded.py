"""What calls in threads do, and what they find of each other."""

from __future__ import annotations

import contextvars
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import erl
from erl import errors

gate: Any = None
running = 0
heard: list[Any] = []
seen: list[str] = []
spinning = threading.Event()
variable = contextvars.ContextVar("variable", default=0)
local = threading.local()


def set_gate(count: int) -> None:
    global gate
    gate = threading.Barrier(count)


def meet() -> bool:
    """True when as many as the gate takes are here at the same time."""
    gate.wait(20)
    return True


def peak(seconds: float) -> int:
    """How many of these ran at the same time, at the most, while this one did."""
    global running
    running += 1
    most = running
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.002)
        most = max(most, running)
    running -= 1
    return most


def sleep(seconds: float, value: Any) -> Any:
    time.sleep(seconds)
    return value


def pid() -> int:
    return os.getpid()


def spin() -> None:
    while True:
        pass


def spin_and_note() -> None:
    try:
        spinning.set()
        while True:
            pass
    except errors.CallCancelled as cancelled:
        seen.append(f"cancelled: {cancelled}")
        raise


def swallowing(work: Callable[[], object], layers: int = 8) -> None:
    """For ever: an exception that enters where another one was just swallowed is the layer around's to swallow."""
    while True:
        try:
            if layers:
                swallowing(work, layers - 1)
            while True:
                work()
        except BaseException:
            pass


def begin_with_a_word(path: str, function: str, args: list[Any]) -> Any:
    """Tells that it has begun, and does that."""
    with open(path, "w"):
        pass
    return globals()[function](*args)


def spin_and_swallow() -> None:
    swallowing(lambda: None)


def is_spinning() -> bool:
    return spinning.is_set()


def noted() -> list[str]:
    return seen


def ask_again_and_again(module: str, function: str) -> None:
    swallowing(lambda: erl.call(module, function, []))


def ask(module: str, function: str, args: list[Any]) -> Any:
    return erl.call(module, function, args)


def say(number: int, times: int) -> None:
    for _ in range(times):
        sys.stdout.write("<" + str(number))
        time.sleep(0.0005)
        print(">")


def say_without_an_end(number: int) -> None:
    print(number, end="")


def say_in_bytes(number: int) -> None:
    sys.stdout.buffer.write(b"%d\n" % number)
    sys.stdout.flush()


def log(number: int) -> None:
    logging.getLogger("threads").warning("number %d", number)
    erl.logger.warning("again %d", number)


class Thing:
    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


def make(number: int) -> list[Thing]:
    time.sleep(0.005)
    return [Thing(number) for _ in range(3)]


def numbers(things: list[Thing]) -> list[int]:
    return [thing.number for thing in things]


def give_away(module: str, function: str, number: int) -> Any:
    """Gives a thing to Erlang before it has a result."""
    return erl.call(module, function, [Thing(number)])


def leave(kind: str) -> None:
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "BaseException": BaseException}[
        kind
    ]("x")


def grow() -> int:
    grown = []
    while True:
        grown.append(bytes(1 << 20))


def mark(path: str, seconds: float) -> bool:
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)
    return True


def wait_for(path: str, value: Any) -> Any:
    """Until somebody makes that file."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return value


def mark_and_wait_for(path: str, awaited: str) -> bool:
    with open(path, "a") as file:
        file.write("x")
    return bool(wait_for(awaited, True))


def end() -> None:
    os._exit(7)


async def later(seconds: float, value: Any) -> Any:
    import asyncio

    await asyncio.sleep(seconds)
    return value


async def block_the_loop() -> None:
    time.sleep(60)


def hear() -> None:
    def handler(message: Any) -> None:
        if message == "ask":
            heard.append(erl.call("erlang", "abs", [-3]))
        elif message == "fail":
            raise ValueError("unheard")
        else:
            heard.append(message)

    erl.set_message_handler(handler)


def all_heard() -> list[Any]:
    return heard


def count_in_context() -> tuple[int, int]:
    variable.set(variable.get() + 1)
    local.count = getattr(local, "count", 0) + 1
    return variable.get(), local.count


def main_thread() -> int | None:
    return threading.main_thread().native_id


def is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


started_in_main: list[bool] = []


def start() -> None:
    started_in_main.append(is_main())


def was_started_in_main() -> list[bool]:
    return started_in_main


def ask_in_a_thread(module: str, function: str) -> Any:
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(erl.call(module, function, [])))
    thread.start()
    thread.join()
    return got[0]


def import_slowly(name: str) -> int:
    import importlib

    return int(importlib.import_module(name).value)


def fork() -> str:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write, b"child")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return os.read(read, 100).decode()


def threads() -> int:
    return threading.active_count()
