"""Calls that belong to a trace: what `py_trace` of Erlang's half has sent, and tasks of programs."""

from __future__ import annotations

from erl import tracing
from erl.names import lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(entry: str, args: list[Any], headers: list[tuple[Any, Any]]) -> object:
    """A call with the arguments of one of `lookup.WRAPPERS`, in the trace of these headers."""
    key, function, values, keywords = lookup.WRAPPERS[entry](*args)
    name = _name(key, function)
    return tracing.carried(dict(map(_texts, headers)), name, function, values, keywords or {})


def task(headers: dict[str, str], function: Any, *args: Any, **keywords: Any) -> object:
    """A program's task, in the trace that the program submitted it in."""
    found = lookup.target(function)
    return tracing.carried(headers, _name(None, found), found, args, keywords)


def _texts(header: tuple[Any, Any]) -> tuple[str, str]:
    name, value = (part.decode("latin-1") if isinstance(part, bytes) else str(part) for part in header)
    return name, value


def _name(key: object, function: Any) -> str:
    """For people: the function's own, or what the call has named."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if name:
        return f"{module}.{name}" if module else str(name)
    return ".".join(map(str, key)) if isinstance(key, tuple) else type(function).__name__
