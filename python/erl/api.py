"""What user code imports: `erl.call`, `erl.acall`, `erl.cast`, `erl.modules`, `erl.set_message_handler` and others.

Works inside a worker; elsewhere each function raises `errors.BridgeError`.
"""

from __future__ import annotations

import sys

from erl import errors
from erl.terms import Atom
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.values.scope import Bridge


def _bound() -> Bridge:
    bridge = current().bridge
    if bridge is None:
        raise errors.BridgeError("not inside a py worker: there is no Erlang to talk to")
    return bridge


def call(module: str, function: str, args: list[Any], timeout: float | None = None) -> Any:
    """Call an Erlang function and return its result; in the main thread the calls that arrive meanwhile are served.

    Works in every thread. `timeout` is in seconds. Raises `errors.ErlangError` with the class, reason and stacktrace of
    what the function raised, `errors.EncodeError` for an argument that can't be sent, and `errors.AnswerTimeoutError`.
    """
    return _bound().call_erlang(*_traced(module, function, list(args)), "N", timeout)


async def acall(module: str, function: str, args: list[Any], timeout: float | None = None) -> Any:
    """Call an Erlang function in a coroutine, on any event loop: the same as `call`, without holding up the loop."""
    return await _bound().call_erlang_later(*_traced(module, function, list(args)), timeout)


def _traced(module: str, function: str, args: list[Any]) -> tuple[str, str, list[Any]]:
    """The call, within one that has the headers of the trace that this code is in, if it is in one."""
    if "erl.tracing" in sys.modules or "opentelemetry.trace" in sys.modules:
        from erl import tracing

        headers = [(name.encode(), value.encode()) for name, value in tracing.current().items()]
        if headers:
            return "py_trace", "apply", [headers, Atom(module), Atom(function), args]
    return module, function, args


def cast(to: Any, message: Any) -> None:
    """Send a message to a pid, a registered name (`Atom`) or a `(name, node)` of atoms. May be called in any thread.

    Raises `errors.EncodeError` for a message that can't be sent; a receiver that is not there is no error.
    """
    _bound().cast(to, message)


def prepared_cast(to: Any, message: Any) -> Callable[[], None]:
    """A cast for a finalizer, which may run anywhere, also while a frame is encoded or written.

    The message is encoded now. Sending it waits for nothing and raises nothing; it goes out with what is written next.
    """
    return _bound().prepared_cast(to, message)


def self() -> Any:
    """The pid of the worker process that owns this interpreter."""
    bridge = _bound()
    return bridge.worker if bridge.worker is not None else bridge.call_erlang("erlang", "self", [], "L")


def make_ref() -> Any:
    """A new, unique Erlang reference."""
    return _bound().call_erlang("erlang", "make_ref", [], "L")


def node() -> Any:
    """The name of the Erlang node, an atom."""
    return _bound().call_erlang("erlang", "node", [], "L")


def whereis(name: str) -> Any:
    """The pid that is registered under a name, None where there is none."""
    return _bound().call_erlang("erlang", "whereis", [Atom(name)], "L")


def set_message_handler(handler: Callable[[Any], object]) -> None:
    """Call `handler` with each message that Erlang casts to this worker. Raises `TypeError` where it can't be."""
    if not callable(handler):
        raise TypeError(f"a message handler must be callable, not {type(handler).__name__}")
    _bound().handler = handler


class Modules:
    """Erlang's modules by attributes: `modules.lists.reverse([1, 2])` is `call("lists", "reverse", [[1, 2]])`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Module:
        return Module(name)

    __getitem__ = __getattr__


class Module:
    """A module of Erlang's: its attributes are functions. What is no Python name stands in brackets."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def function(*args: Any, timeout: float | None = None) -> Any:
            return call(self._name, name, list(args), timeout)

        function.__name__ = function.__qualname__ = f"{self._name}:{name}"
        return function

    __getitem__ = __getattr__

    def __repr__(self) -> str:
        return f"<Erlang module {self._name}>"


modules = Modules()
