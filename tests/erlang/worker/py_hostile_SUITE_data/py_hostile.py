"""Odd values and exceptions."""

from __future__ import annotations

from typing import Any


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


def print_odd() -> None:
    print("lone \ud800, zero \0, end")


def lone_surrogate() -> str:
    return "\ud800"


def long_atom(length: int) -> Any:
    import erl

    return erl.Atom("a" * length)


def cast_unencodable(receiver: Any) -> None:
    import erl

    erl.cast(receiver, cyclic_list())


def close_stdout() -> None:
    import sys

    sys.stdout.close()
