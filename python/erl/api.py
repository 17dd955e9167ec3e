"""What user code imports: `erl.call`, `erl.cast`, `erl.self`, `erl.set_message_handler`.

Works inside a worker; elsewhere each function raises `errors.BridgeError`.
"""

from __future__ import annotations

from erl import errors, wire

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from erl.server import Server

_server: Server | None = None


def _bind(server: Server | None) -> None:
    global _server
    _server = server


def _bound() -> Server:
    if _server is None:
        raise errors.BridgeError("not inside a py worker: there is no Erlang to talk to")
    return _server


def call(module: str, function: str, args: list[Any]) -> Any:
    """Call an Erlang function and return its result; the calls that arrive meanwhile are served.

    Raises `errors.ErlangError` with the class, reason and stacktrace of what the function raised,
    `errors.EncodeError` for an argument that can't be sent, and `errors.BridgeError` outside the main thread.
    """
    return _bound().call_erlang(module, function, list(args), "N")


def cast(to: Any, message: Any) -> None:
    """Send a message to a pid, a registered name (`Atom`) or a `(name, node)` of atoms. May be called in any thread.

    Raises `errors.EncodeError` for a message that can't be sent; a receiver that is not there is no error.
    """
    _bound().cast(to, message)


def prepared_cast(to: Any, message: Any) -> Callable[[], None]:
    """A cast for a finalizer, which may run anywhere, also while a frame is encoded or written.

    The message is encoded now. Sending it waits for nothing and raises nothing; it goes out with what is written next.
    """
    server = _bound()
    frame = wire.message(to, message, server.options)
    return lambda: server._send(frame)


def self() -> Any:
    """The pid of the worker process that owns this interpreter."""
    return _bound().call_erlang("erlang", "self", [], "L")


def make_ref() -> Any:
    """A new, unique Erlang reference."""
    return _bound().call_erlang("erlang", "make_ref", [], "L")


def set_message_handler(handler: Callable[[Any], object]) -> None:
    """Call `handler` with each message that Erlang casts to this worker. Raises `TypeError` where it can't be."""
    if not callable(handler):
        raise TypeError(f"a message handler must be callable, not {type(handler).__name__}")
    _bound().handler = handler
