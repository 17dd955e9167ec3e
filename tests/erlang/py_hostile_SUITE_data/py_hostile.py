"""Values and exceptions that have killed or hung bridges."""

from __future__ import annotations

import threading
from typing import Any


class Mute(Exception):
    """Its text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class FailingReduce:
    def __reduce__(self) -> Any:
        raise RuntimeError("reduce failed")


class EndlessReduce:
    """Pickling it never comes to an end of its own."""

    def __reduce__(self) -> Any:
        return EndlessReduce, (EndlessReduce(),)


class Unreadable:
    """Pickles, but can't be read again."""

    def __reduce__(self) -> Any:
        return _fail, ()


class ExitingReduce:
    def __reduce__(self) -> Any:
        raise SystemExit("in reduce")


class SurrogateError(Exception):
    def __str__(self) -> str:
        return "lone \ud800"


def _fail() -> Any:
    raise RuntimeError("can't be read")


def raise_mute() -> None:
    raise Mute


def raise_surrogate() -> None:
    raise SurrogateError


def raise_long() -> None:
    raise ValueError("x" * 1_000_000)


def raise_group() -> None:
    raise BaseException("base")


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def raise_from_itself() -> None:
    error = ValueError("cyclic")
    other = KeyError("other")
    error.__cause__ = other
    other.__context__ = error
    raise error


def raise_deep() -> None:
    raise_deep()


def raise_long_name() -> None:
    raise type("E" * 1000, (Exception,), {})("long name")


def make(name: str) -> Any:
    return globals()[name]()


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


def cyclic_list() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def cyclic_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["me"] = value
    return value


def cyclic_tagged() -> Any:
    from collections import OrderedDict

    value: Any = OrderedDict()
    value["me"] = [value]
    return value


def depth(value: Any) -> int:
    levels = 0
    while value:
        value = value[0]
        levels += 1
    return levels


def unpicklable() -> Any:
    return threading.Lock()


def frame() -> Any:
    import sys

    return sys._getframe()


def print_much(size: int) -> None:
    print("x" * size)


def print_lines(count: int) -> None:
    for number in range(count):
        print(number)


def print_odd() -> None:
    print("lone \ud800, zero \0, end")


def lone_surrogate() -> str:
    return "\ud800"


def long_atom(length: int) -> Any:
    import erl

    return erl.Atom("a" * length)


def utf8_atom() -> Any:
    import erl

    return erl.Atom("ключ")


def cast_unencodable(receiver: Any) -> None:
    import erl

    erl.cast(receiver, cyclic_list())


def close_stdout() -> None:
    import sys

    sys.stdout.close()
