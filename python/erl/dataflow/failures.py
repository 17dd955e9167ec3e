"""The exceptions of a dataflow: what a function of the user's has raised, said with where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from erl import errors
from erl.link.answers import RemoteTraceback

if TYPE_CHECKING:
    pass


class OperationError(errors.BridgeError):
    """Raised for what a function raised in a partition; it is one of that class as well (`except ZeroDivisionError`).

    `operation`   what raised it: `map(<lambda> at program.py:3)`
    `set_name`    the set: `map-3`
    `partition`   the index of the partition
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
        item = "" if self.item is None else f", item {self.item}"
        return f"{self.text} (in {self.operation}, {self.set_name}, partition {self.partition}{item})"

    def __reduce__(self) -> Any:
        state = {**{name: getattr(self, name) for name in _NAMES}, **self.__dict__}
        return _rebuilt, (
            None if type(self) is OperationError else type(self).__bases__[0],
            self.args,
            state,
        )


_NAMES = ("operation", "set_name", "partition", "item", "error_class", "text")


def raised(
    error: BaseException | None,
    name: str,
    text: str,
    trace: str,
    operation: str,
    set_name: str,
    item: int | None,
    partition: int,
) -> OperationError:
    """The exception of a function, as it is raised in the driver."""
    found = getattr(error, "__wrapped__", error)
    args = found.args if isinstance(found, BaseException) else (text,)
    state = {
        "operation": operation,
        "set_name": set_name,
        "partition": partition,
        "item": item,
        "error_class": name,
        "text": f"{name.rpartition('.')[2]}: {text}" if text else name.rpartition(".")[2],
    }
    state = {**getattr(found, "__dict__", {}), **state}
    made = _rebuilt(type(found) if isinstance(found, BaseException) else None, args, state)
    if isinstance(found, BaseException):
        found.__cause__ = RemoteTraceback(trace) if trace else None
        made.__cause__ = found
    elif trace:
        made.__cause__ = RemoteTraceback(trace)
    return made


def _rebuilt(kind: Any, args: tuple[Any, ...], state: dict[str, Any]) -> OperationError:
    made: OperationError
    try:
        if kind is None or not issubclass(kind, Exception) or issubclass(kind, OperationError):
            raise TypeError
        own = {name: OperationError.__dict__[name] for name in ("__str__", "__reduce__")}
        own |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        both: Any = type(kind.__name__, (kind, OperationError), own)
        made = both.__new__(both, *args)
        made.args = args
    except Exception:
        made = OperationError(*args)
    made.__dict__.update(state)
    return made
