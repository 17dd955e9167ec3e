"""Which node has the functions of this process, and how it is asked: by a worker's port, or by a program's link.

A program's node is the one that it has started or joined last, else one that is started here on the default directory;
where another node has that directory, it is joined by the socket in it.
"""

from __future__ import annotations

import os
import threading

from erl import api, errors
from erl.link import nodes, paths
from erl.terms import Atom
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

    from erl.link.node import Node

_NAME: Final = "functions"

_lock = threading.RLock()
_used: list[Node] = []
"""The node that was asked last."""
_joined: dict[Node, Node] = {}
"""The node that has the directory, where a program's own may not have it."""


def call(module: str, function: str, args: list[Any], node: Node | None = None) -> Any:
    """The value of an Erlang function that answers `ok`, `{ok, Value}` or an error; texts go as bytes.

    Raises `errors.EntityError` with the error's text, `errors.UnknownEntityError`, `errors.NodeError` without a node.
    """
    asked = [Atom(module), Atom(function), args]
    in_worker = current().bridge is not None
    answer = _asked_by_port(asked) if in_worker else _asked(node or default(), asked)
    if answer[0] == "ok":
        return answer[1]
    kind, text = text_of(answer[1]), text_of(answer[2])
    raise _KINDS.get(kind, errors.EntityError)(text)


_KINDS: Final[dict[str, type[errors.EntityError]]] = {
    "unknown_entity": errors.UnknownEntityError,
    "entity_exists": errors.EntityExistsError,
}


def asked_one() -> Node | None:
    """The node for calls that belong together, None in a worker, whose node there is one of."""
    return None if current().bridge is not None else default()


def _asked_by_port(asked: list[Any]) -> Any:
    try:
        return api.call("py_entity", "ask", asked)
    except errors.ErlangError as error:
        if type(error.reason) is tuple and error.reason[:1] == ("callback_not_allowed",):
            raise errors.EntityError(
                "this worker has no part in what its node keeps: it is in a sandbox, or its pool's `callbacks` say so"
            ) from None
        raise


def _asked(node: Node, asked: list[Any]) -> Any:
    with _lock:
        joined = _joined.get(node)
        if joined is not None and not joined.is_up:
            joined = None
    answer = (joined or node).call("py_entity", "ask", asked)
    if joined is None and answer[0] == "error" and text_of(answer[1]) == "locked":
        return _other(node, text_of(answer[2])).call("py_entity", "ask", asked)
    return answer


def default() -> Node:
    """The node that this program's functions are on: the one of its link, else one that is started.

    Where the program's own node was lost that is told: another one, also one that it had before, has another directory.
    """
    with _lock:
        known = nodes.latest()
        used = _used[0] if _used else None
        is_lost = used is not None and not (used.is_up or used.is_stopped or _is_of_default(used))
        # One that was named since is what the program means now.
        if used is not None and is_lost and (known is None or known.turn < used.turn):
            known = used
        if known is None:
            known = _default()
        _used[:] = [known]
        return known


def _is_of_default(node: Node) -> bool:
    return node.socket == _socket()


def _socket() -> str:
    return paths.short(os.path.join(default_directory(), "node.sock"))


def _default() -> Node:
    """The node that has the default directory, joined or started."""
    try:
        return nodes.connect(_socket())
    except errors.NodeError:
        pass
    try:
        return nodes.start(name=_NAME, state_dir=default_directory())
    except errors.NodeError:
        try:  # one that another program has started just now
            return nodes.connect(_socket())
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
        for gone in [each for each in _joined if not each.is_up]:
            del _joined[gone]
        _joined[refused] = node
    return node


def text_of(value: Any) -> str:
    """A text of an answer."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
