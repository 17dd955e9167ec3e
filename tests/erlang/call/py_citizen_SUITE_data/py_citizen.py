"""Python code that calls Erlang, from everywhere that Python code runs."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import erl

# Threads


def sums_in_threads(threads: int, each: int) -> list[int]:
    """Every thread asks Erlang for sums; the main thread waits for them and runs no message loop."""

    def ask(number: int) -> int:
        return sum(erl.call("lists", "sum", [[number, turn]]) - turn for turn in range(each))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(ask, range(threads)))


background: list[Any] = []


def ask_in_background(wait_ms: int, term: Any) -> None:
    """A thread that goes on after the call has returned."""

    def ask() -> None:
        background.append(erl.call("py_citizen_SUITE", "later", [wait_ms, term]))

    threading.Thread(target=ask).start()


def from_background() -> list[Any]:
    return background


def spin(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def thread_timeout(seconds: float) -> str:
    result: list[str] = []

    def ask() -> None:
        try:
            erl.call("timer", "sleep", [60_000], timeout=seconds)
        except erl.errors.AnswerTimeoutError as error:
            result.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return result[0]


def main_timeout(seconds: float) -> str:
    try:
        erl.call("timer", "sleep", [60_000], timeout=seconds)
    except TimeoutError as error:
        return str(error)
    return "no error"


def time_out_then_sleep(path: str) -> None:
    """After a call of Erlang that timed out this is the call that runs."""
    main_timeout(0.05)
    try:
        time.sleep(60)
    finally:
        Path(path).touch()


def cast_locks_from_a_thread(to: Any) -> None:
    thread = threading.Thread(target=erl.cast, args=(to, threading.Lock()))
    thread.start()
    thread.join()


# The API


def identity() -> tuple[Any, Any, Any]:
    return erl.self(), erl.node(), erl.whereis("code_server")


def reverse(values: list[int]) -> Any:
    return erl.modules.lists.reverse(values)


def log(text: str) -> None:
    erl.logger.warning(text)


def try_call(module: str, function: str, args: list[Any]) -> Any:
    try:
        return erl.call(module, function, args)
    except erl.errors.ErlangError as error:
        return error.class_, error.reason


def nest(depth: int) -> int:
    """Erlang to Python to Erlang ..., all on this worker."""
    if depth == 0:
        return 0
    return 1 + int(erl.call("py_citizen_SUITE", "nest", [erl.self(), depth - 1]))


messages: list[Any] = []


def keep_messages() -> None:
    erl.set_message_handler(messages.append)


def kept() -> list[Any]:
    return messages


def answer_with_locks() -> None:
    erl.set_message_handler(lambda sender: erl.cast(sender, threading.Lock()))


# Coroutines


async def sleep(seconds: float, value: Any) -> Any:
    await asyncio.sleep(seconds)
    return value


async def fail(text: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


async def sum_later(values: list[int]) -> Any:
    return await erl.acall("lists", "sum", [values])


async def sums_later(count: int) -> list[Any]:
    return await asyncio.gather(*(erl.acall("lists", "sum", [[1, number]]) for number in range(count)))


async def acall_timeout(seconds: float) -> str:
    try:
        await erl.acall("timer", "sleep", [60_000], timeout=seconds)
    except erl.errors.AnswerTimeoutError as error:
        return str(error)
    return "no error"


async def call_in_a_coroutine(values: list[int]) -> Any:
    """A coroutine may call Erlang like any thread, and holds up its loop meanwhile."""
    return erl.call("lists", "sum", [values])


async def note_cancellation(path: str) -> None:
    Path(path + ".started").touch()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        Path(path).touch()
        raise


async def hold_up_the_loop(path: str) -> None:
    Path(path + ".started").touch()
    while True:
        time.sleep(0.01)


async def lock_later() -> Any:
    await asyncio.sleep(0)
    return threading.Lock()


class Awaitable:
    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return "awaited"


def awaitable() -> Awaitable:
    return Awaitable()


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def set_variable(value: str, seconds: float) -> tuple[str, str]:
    before = variable.get()
    variable.set(value)
    await asyncio.sleep(seconds)
    return before, variable.get()


def loop_of_its_own(values: list[int]) -> Any:
    """An event loop on the main thread, in a call."""
    return asyncio.run(sum_later(values))
