"""Coroutines that do what ends an event loop, and those beside them."""

from __future__ import annotations

import _thread
import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import erl
from erl import errors


async def sleep(seconds: float, value: Any) -> Any:
    await asyncio.sleep(seconds)
    return value


async def sleep_until(path: str, value: Any) -> Any:
    while not os.path.exists(path):
        await asyncio.sleep(0.05)
    return value


async def exit_with(status: int) -> None:
    await asyncio.sleep(0)
    sys.exit(status)


async def exit_at_once(status: int) -> None:
    sys.exit(status)


async def raises(name: str) -> None:
    await asyncio.sleep(0)
    raise {
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
        "SystemExit": SystemExit,
        "CancelledError": asyncio.CancelledError,
        "StopAsyncIteration": StopAsyncIteration,
        "BaseException": BaseException,
    }[name]("stop")


async def raise_stop_iteration() -> None:
    raise StopIteration


async def stop_the_loop() -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return "stopped"


async def close_the_loop() -> None:
    asyncio.get_running_loop().close()


async def exit_in_a_callback() -> str:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0.01)
    return "called"


async def exit_in_a_task() -> Any:
    return await asyncio.create_task(exit_with(4))


async def exit_in_a_task_of_many() -> list[str]:
    results = await asyncio.gather(exit_with(4), sleep(0.01, "x"), return_exceptions=True)
    return [type(result).__name__ for result in results]


async def leave_a_task_that_exits() -> str:
    asyncio.create_task(exit_with(5))  # noqa: RUF006 (nobody waits for it)
    return "left"


async def run_in_the_running_loop() -> None:
    coroutine = sleep(0, "x")
    try:
        asyncio.get_running_loop().run_until_complete(coroutine)
    finally:
        coroutine.close()


async def run_a_loop() -> None:
    coroutine = sleep(0, "x")
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


async def stop_and_close() -> str:
    """As soon as the loop has stopped, a thread closes it."""
    loop = asyncio.get_running_loop()
    closed = threading.Event()

    def close() -> None:
        while not loop.is_closed():
            try:
                loop.close()
            except RuntimeError:  # it runs
                continue
        closed.set()

    _thread.start_new_thread(close, ())
    while True:
        loop.stop()
        await asyncio.sleep(0)


async def break_the_loop() -> None:
    """Each turn of it fails from now on."""
    loop = asyncio.get_running_loop()
    loop._run_once = lambda: sys.exit(1)  # type: ignore[attr-defined]
    await asyncio.sleep(60)


async def numbers(most: int) -> AsyncIterator[int]:
    for number in range(most):
        await asyncio.sleep(0)
        yield number
    sys.exit(6)


async def exits_in_an_async_generator() -> int:
    return sum([number async for number in numbers(3)])


async def factory_that_fails() -> None:
    def fail(_loop: Any, coroutine: Any, **_more: Any) -> Any:
        coroutine.close()
        raise ValueError("no tasks here")

    asyncio.get_running_loop().set_task_factory(fail)


async def no_factory() -> None:
    asyncio.get_running_loop().set_task_factory(None)


async def thread_ends() -> None:
    _thread.exit()


async def loop_number() -> tuple[int, str]:
    return id(asyncio.get_running_loop()), threading.current_thread().name


# What is not wanted any more


async def ask(module: str, function: str, args: list[Any]) -> Any:
    return await erl.acall(module, function, args)


async def ask_for(seconds: float, module: str, function: str, args: list[Any]) -> str:
    try:
        await asyncio.wait_for(erl.acall(module, function, args), seconds)
    except asyncio.TimeoutError:
        return "timeout"
    return "answered"


async def ask_and_cancel(module: str, function: str, args: list[Any]) -> str:
    task = asyncio.create_task(erl.acall(module, function, args))
    await asyncio.sleep(0.05)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    return "answered"


def call(module: str, function: str, args: list[Any]) -> Any:
    return erl.call(module, function, args)


def pid() -> int:
    return os.getpid()


# Functions that are replaced


def patch(library: str) -> bool:
    try:
        if library == "gevent":
            from gevent import monkey

            monkey.patch_all()
        else:
            import eventlet

            eventlet.monkey_patch()
    except ImportError:
        return False
    return True


FROZEN: list[Any] = []


def freeze() -> bool:
    try:
        import freezegun
    except ImportError:
        return False
    FROZEN.append(freezegun.freeze_time("2020-02-02"))
    FROZEN[0].start()
    return True


def thaw() -> bool:
    FROZEN.pop().stop()
    return True


def time_out(seconds: float) -> str:
    try:
        erl.call("timer", "sleep", [5000], timeout=seconds)
    except errors.AnswerTimeoutError:
        return "timeout"
    return "answered"


async def time_out_later(seconds: float) -> str:
    try:
        await erl.acall("timer", "sleep", [5000], timeout=seconds)
    except errors.AnswerTimeoutError:
        return "timeout"
    return "answered"


begun: list[int] = []
"""The numbers of calls of `beside`, as they began."""
running = 0


async def beside(seconds: float, number: int) -> int:
    """How many of these ran at the same time, at the most, while this one did."""
    global running
    begun.append(number)
    running += 1
    peak = running
    try:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.005)
            peak = max(peak, running)
    finally:
        running -= 1
    return peak


def begun_so_far() -> list[int]:
    return begun


def add(one: int, other: int) -> int:
    return one + other


async def print_slowly(number: int, times: int) -> None:
    for _ in range(times):
        print(number)
        await asyncio.sleep(0.001)
