"""What the tests of the lane call: fast, failing, printing, nesting, and changing what is known of it."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from typing import Any

import erl
from erl import api, decoders, encoders
from erl.terms import Atom


class Loud:
    """Says when it goes."""

    def __init__(self, name: object) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Loud({self.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return str, (repr(self.name),)  # by value, a class has another number in every pickle

    def __del__(self) -> None:
        print("gone:", self.name)


class Iterator:
    """Stays in this process: its values are references."""

    def __repr__(self) -> str:
        return "Iterator()"

    def __next__(self) -> int:
        return 1


class Asked:
    """Encoding it asks Erlang."""

    def __reduce__(self) -> tuple[object, ...]:
        return str, ("asked",)

    def __repr__(self) -> str:
        return "Asked()"


def asked(*_values: object) -> object:
    return [Asked(), 1, Iterator()]


def add(one: Any, other: Any) -> Any:
    return one + other


def echo(*values: Any, **keywords: Any) -> Any:
    return [*values, keywords] if keywords else list(values)


def fail(*_values: object) -> None:
    raise ValueError("this one fails")


def fail_from(*_values: object) -> None:
    try:
        fail()
    except ValueError as cause:
        raise KeyError("this one fails because of it") from cause


def leave(*_values: object) -> None:
    sys.exit(3)


def interrupt(*_values: object) -> None:
    raise KeyboardInterrupt


def say(*values: object) -> None:
    print(*values)


def mumble(*values: object) -> None:
    print(*values, end=" ")


def mumble_and_fail(*values: object) -> None:
    mumble(*values)
    fail()


def reference(*_values: object) -> object:
    return [Iterator(), 1, Iterator()]


def unencodable(*_values: object) -> object:
    return [Iterator(), "\ud800", cycle()]


def cycle() -> list[object]:
    circle: list[object] = []
    circle.append(circle)
    return circle


def loud(name: object, *_values: object) -> Loud:
    return Loud(name)


def big(size: int = 100_000, *_values: object) -> bytes:
    return b"x" * (size if type(size) is int and 0 < size < 1 << 20 else 100_000)


def slow(*_values: object) -> None:
    end = time.perf_counter() + 0.0003
    while time.perf_counter() < end:
        pass


def ask(*values: object) -> object:
    return erl.call(Atom("m"), Atom("f"), list(values))


def ask_and_sleep(seconds: float) -> object:
    answer = ask()
    time.sleep(seconds)
    return answer


def send(*values: object) -> None:
    erl.cast(Atom("somebody"), list(values))


def reload(*_values: object) -> None:
    importlib.reload(sys.modules[__name__])


def one(*_values: object) -> int:
    return 1


def two(*_values: object) -> int:
    return 2


changing = one


def change(*_values: object) -> None:
    global changing
    changing = two if changing is one else one


def vanish(*_values: object) -> None:
    globals().pop("changing", None)


def restore(*_values: object) -> None:
    global changing
    changing = one


def decode_all(*_values: object) -> None:
    decoders.set_decoder(lambda value: ("decoded", value))


def decode_none(*_values: object) -> None:
    decoders.set_decoder(None)


def encode_all(*_values: object) -> None:
    encoders.set_encoder(lambda value: ("encoded", value) if value != 1 else fail())


def encode_none(*_values: object) -> None:
    encoders.set_encoder(None)


def encode_integers(*_values: object) -> None:
    encoders.register(int, lambda number: Atom("n"))


def forget_integers(*_values: object) -> None:
    if encoders.lookup(int) is not None:
        encoders.unregister(int)


def register(*_values: object) -> None:
    encoders.register(Loud, lambda value: value.name)
    encoders.register(Asked, lambda value: ask(1))
    decoders.register("loud", Loud)
    decoders.register("asking", ask)
    decoders.register("failing", fail)


def running(*_values: object) -> int:
    return api._bound().running


def running_while_asking(*_values: object) -> list[int]:
    before = running()
    ask()
    return [before, running()]


def fork_and_return(*_values: object) -> int:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return min(child, 1)


def deep(levels: int = 0) -> int:
    return deep(levels)


def wait_for_alarm(seconds: float) -> None:
    """Spin for so long, or until the alarm comes, whose handler says what runs."""
    if not seconds:
        return

    def raise_from_handler(_number: int, _frame: object) -> None:
        raise TimeoutError(f"in call {running()}")

    signal.signal(signal.SIGALRM, raise_from_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
