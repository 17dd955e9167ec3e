"""The exceptions of a dataflow: what a function of the user's has raised, said with where."""

from __future__ import annotations

from typing import Any

from erl import errors
from erl.link.answers import RemoteTraceback
from erl.values import unpickled


class OperationError(errors.BridgeError):
    """Raised for what a function raised in a partition; it is one of that class as well (`except ZeroDivisionError`).

    `operation`   what raised it: `map(<lambda> at program.py:3)`
    `set_name`    the set: `map-3`
    `partition`   the index of the partition; -1 where what several gave was folded
    `item`        the number of the item in the partition, from 0; None where it was no item's
    `error_class`, `text`  the exception's class and text; itself is the `__cause__`, where it can be had here
    """

    operation = ""
    set_name = ""
    partition = -1
    item: int | None = None
    error_class = ""
    text = ""

    def __str__(self) -> str:
        state = {name: self.__dict__.get(name, getattr(OperationError, name)) for name in _NAMES}
        partition = "" if state["partition"] < 0 else f", partition {state['partition']}"
        item = "" if state["item"] is None else f", item {state['item']}"
        return f"{state['text']} (in {state['operation']}, {state['set_name']}{partition}{item})"

    def __reduce__(self) -> Any:
        kind = None if type(self) is OperationError else type(self).__bases__[0]
        args, state = (self.args, {}) if kind is None else _made_of(self, kind)
        return _rebuilt, (kind, args, {**state, **self.__dict__})


_NAMES = ("operation", "set_name", "partition", "item", "error_class", "text")


def raised(
    error: object,
    name: str,
    text: str,
    trace: str,
    operation: str,
    set_name: str,
    item: int | None,
    partition: int,
) -> OperationError:
    """The exception of a function, as it is raised in the driver."""
    found: Any = getattr(error, "__wrapped__", error)
    if isinstance(found, unpickled.Rebuilt):  # nobody has read it from a pickle
        found = found.made()
    args, more = _made_of(found, type(found)) if isinstance(found, BaseException) else ((text,), {})
    state = {
        "operation": operation,
        "set_name": set_name,
        "partition": partition,
        "item": item,
        "error_class": name,
        "text": f"{name.rpartition('.')[2]}: {text}" if text else name.rpartition(".")[2],
    }
    state = {**more, **getattr(found, "__dict__", {}), **state}
    made = _rebuilt(type(found) if isinstance(found, BaseException) else None, args, state)
    if isinstance(found, BaseException):
        found.__cause__ = RemoteTraceback(trace) if trace else None
        made.__cause__ = found
    elif trace:
        made.__cause__ = RemoteTraceback(trace)
    return made


def _builtin(kind: type) -> Any:
    """The class of Python's own that it is of."""
    return next(each for each in kind.__mro__ if each.__module__ == "builtins")


def _made_of(error: BaseException, kind: type) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that the builtin class is made with, which may be more than `args`; and what it keeps beside."""
    try:
        _, args, *more = _builtin(kind).__reduce__(error)
        state = more[0] if more and isinstance(more[0], dict) else {}
        return tuple(args), {name: value for name, value in state.items() if name not in error.__dict__}
    except Exception:
        return error.args, {}


def _rebuilt(kind: Any, args: tuple[Any, ...], state: dict[str, Any]) -> OperationError:
    made: OperationError
    try:
        if kind is None or not issubclass(kind, Exception) or issubclass(kind, OperationError):
            raise TypeError
        own = {name: OperationError.__dict__[name] for name in ("__str__", "__reduce__")}
        own |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        both: Any = type(kind.__name__, (kind, OperationError), own)
        made = both.__new__(both, *args)
        _builtin(kind).__init__(made, *args)
    except Exception:
        made = OperationError(*args)
    for name, value in state.items():
        if name in _NAMES:
            made.__dict__[name] = value
            continue
        try:
            setattr(made, name, value)
        except Exception:
            made.__dict__[name] = value
    return made
