"""What the tests of ErlPort's API ask of a worker; imports that API only when it is needed."""

from __future__ import annotations

import sys
from typing import Any


def loaded() -> list[str]:
    return sorted(name for name in sys.modules if name.partition(".")[0] == "erlport")


def add_to_path(directory: bytes, first: bool = False) -> None:
    sys.path.insert(0 if first else len(sys.path), directory.decode())


def kinds(*values: object) -> list[str]:
    return [type(value).__name__ for value in values]


messages: list[Any] = []


def listen() -> None:
    from erlport.erlang import set_message_handler

    set_message_handler(messages.append)


def listen_plainly() -> None:
    import erl

    erl.set_message_handler(messages.append)


def is_ok(status: Any) -> tuple[bool, ...]:
    return status == b"ok", status.decode() == "ok", isinstance(status, bytes)


def kinds_in_message() -> list[str]:
    ((first, second),) = messages
    return kinds(first, second, second[1])


def kinds_answered() -> list[str]:
    import erl

    value = erl.call("erlang", "get", [])
    return kinds(value, *value)


def ask_and_tell(to: Any) -> list[str]:
    from erlport.erlang import call, cast
    from erlport.erlterms import Atom

    content = {1: [{2: ({3: 4},)}]}
    cast(to, [content])
    value = call(Atom(b"maps"), Atom(b"get"), [1, content])
    return kinds(value, value[0])


def parts_of_failure() -> object:
    from erlport.erlang import CallError, call
    from erlport.erlterms import Atom

    try:
        return call(Atom(b"erlang"), Atom(b"get"), [])
    except CallError as error:
        return error.language, error.type, error.value, error.stacktrace, str(error).encode()


class Outer:
    class Inner(Exception):
        pass


def fail_for_a_reason() -> None:
    try:
        raise ValueError("first")
    except ValueError as error:
        raise Outer.Inner("second") from error


def kinds_heard() -> list[str]:
    return kinds(*messages)


def say(characters: int) -> None:
    print("x" * characters)


def is_green(tea: Any) -> bool:
    from erlport.erlterms import Atom

    return tea == Atom(b"green") and isinstance(tea, Atom) and tea.decode("utf-8") == "green"


def opaque(pid: object) -> bool:
    from erlport.erlterms import OpaqueObject

    return isinstance(pid, OpaqueObject)


def fail_at_length(characters: int) -> None:
    raise ValueError("x" * characters)


def fail_deep(depth: int) -> None:
    if depth == 10:
        raise ValueError("deep")
    fail_deep(depth + 1)


def tell_too_much() -> str:
    from erl import Atom, cast

    try:
        cast(Atom("nobody"), b"x" * 1000)
    except ValueError as error:
        return type(error).__name__
    return "sent"
