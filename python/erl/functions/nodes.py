"""Which node has the functions of this process, and how it is asked: by a worker's port, or by a program's link.

A program's node is the one that it has started or joined last, else one that is started here on the default directory;
where another node has that directory, it is joined by the socket in it.
"""

from __future__ import annotations

import os
import threading

from erl import api, errors
from erl.link import nodes
from erl.terms import Atom
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

    from erl.link.node import Node

_NAME: Final = "functions"

_lock = threading.RLock()
_joined: dict[int, Node] = {}
"""The node that has the directory, where the program's own may not: by the process."""


def call(module: str, function: str, args: list[Any]) -> Any:
    """The value of an Erlang function that answers `ok`, `{ok, Value}` or an error; texts go as bytes.

    Raises `errors.EntityError` with the error's text, `errors.UnknownEntityError`, `errors.NodeError` without a node.
    """
    asked = [Atom(module), Atom(function), args]
    with _lock:
        joined = _joined.get(os.getpid())
    if current().bridge is not None:
        answer = api.call("py_entity", "ask", asked)
    else:
        node = joined if joined is not None and joined.is_up else default()
        answer = node.call("py_entity", "ask", asked)
        if answer[0] == "error" and text_of(answer[1]) == "locked":
            node = _other(node, text_of(answer[2]))
            answer = node.call("py_entity", "ask", asked)
    if answer[0] == "ok":
        return answer[1]
    kind, text = text_of(answer[1]), text_of(answer[2])
    raise _KINDS.get(kind, errors.EntityError)(text)


_KINDS: Final[dict[str, type[errors.EntityError]]] = {
    "unknown_entity": errors.UnknownEntityError,
    "entity_exists": errors.EntityExistsError,
}


def default() -> Node:
    """The node that this program's functions are on: the one of its link, else one that is started."""
    with _lock:
        known = nodes.latest()
        if known is not None:
            return known
        directory = default_directory()
        socket = os.path.join(directory, "node.sock")
        try:
            return nodes.connect(socket)
        except errors.NodeError:
            pass
        try:
            return nodes.start(name=_NAME, state_dir=directory)
        except errors.NodeError:
            try:  # one that another program has started just now
                return nodes.connect(socket)
            except errors.NodeError:
                pass
            raise


def default_directory() -> str:
    """Where a node keeps what outlives it that is told nothing else: the same rule as `py_store` has."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return os.path.join(state, "py")
    return os.path.join(os.path.expanduser("~"), ".local", "state", "py")


def _other(refused: Node, text: str) -> Node:
    """The node that has the directory, joined. Raises `errors.NodeError` with what the refusing one said."""
    directory = text_of(refused.call("py_entity", "wanted", []))
    try:
        node = nodes.connect(os.path.join(directory, "node.sock"))
    except errors.NodeError:
        raise errors.NodeError(text) from None
    with _lock:
        _joined[os.getpid()] = node
    return node


def text_of(value: Any) -> str:
    """A text of an answer."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
