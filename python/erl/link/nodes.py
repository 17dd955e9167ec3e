"""The nodes of this process: started, joined, belonged to; which of them is meant where none is named."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from itertools import count

from erl import api, errors
from erl.link import interpreters, paths, sizes
from erl.link.channel import connected
from erl.link.node import Node
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

NODE: Final = "ERL_NODE"
"""The environment variable that tells a submitted script its node's socket."""
NODE_PATH: Final = "ERL_NODE_PATH"
"""The one that tells it the `sys.path` of the workers, where that node is its own; else it is empty."""

_CONNECT_SECONDS: Final = 10.0
_THREADS: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""Workers that compute in parallel must not each compute in parallel."""

_lock = threading.RLock()
_turns = count(1)
_started: dict[str | None, tuple[Any, Node]] = {}
_joined: dict[str, Node] = {}
_latest: list[Node] = []
_known: list[Node] = []
"""Every node that is not known to be gone, for forks and the exit."""


def start(
    pools: dict[str, dict[str, Any]] | None = None,
    *,
    name: str | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    **app_env: Any,
) -> Node:
    """Start a node of this process's own: a BEAM as a child, with these pools.

    `pools` are names and options (`{"default": {"size": n}}`, n the processors that this process may use), `app_env`
    more of the application's environment, `state_dir` where it keeps what outlives it. Where this process has a live
    node that was started with equal arguments, it is that one; `name` is for a second one beside it. Raises
    `errors.NodeError`, which says what to install or what to stop.
    """
    asked: Any = {"default": {"size": sizes.processors()}} if pools is None else pools
    if not isinstance(asked, dict) or not all(map(_is_pool, asked.items())):
        raise TypeError('pools are names and options: {"default": {"size": 4}}')
    directory = None if state_dir is None else os.path.abspath(os.fspath(state_dir))
    arguments = (asked, directory, app_env)
    with _lock:
        known = _started.get(name)
        if known is not None and known[1].is_up:
            if known[0] == arguments:
                _be_latest(known[1])
                return known[1]
            raise errors.NodeError(
                "this process has a node that was started with other arguments: node.stop() ends that one, "
                f"name= starts this one beside it. There is {known[1]!r}"
            )
        import copy

        kept = copy.deepcopy(arguments)
        node = _start(asked, directory, app_env)
        _started[name] = (kept, node)
        _add(node)
        return node


def _is_pool(item: tuple[Any, Any]) -> bool:
    name, given = item
    return isinstance(name, str) and isinstance(given, dict) and all(isinstance(each, str) for each in given)


def _start(pools: dict[str, dict[str, Any]], state_dir: str | None, app_env: dict[str, Any]) -> Node:
    from erl.link.child import Child
    from erl.link.conversation import Link
    from erl.terms import Atom

    path = absolute_path()
    socket = paths.private() if state_dir is None else paths.short(os.path.join(state_dir, "node.sock"))
    env: dict[object, object] = {Atom(key): value for key, value in app_env.items()}
    if state_dir is not None:
        env.setdefault(Atom("state_dir"), state_dir)
    child = Child(
        {
            "parent": os.getpid(),
            "path": socket,
            "pools": {Atom(name): options(given, path) for name, given in pools.items()},
            "env": env,
        }
    )
    try:
        socket = os.fsdecode(child.info.get("path", socket))
        paths.check(socket)
        link = Link(connected(socket, _CONNECT_SECONDS), log=True)
    except BaseException:
        child.kill()
        raise
    link.threads.update({name: given.get("threads", 1) for name, given in pools.items()})
    node = Node(link, socket, child, path)
    link.down_told = child.ended
    return node


def absolute_path() -> list[str]:
    """`sys.path` for processes that may be somewhere else."""
    here = _directory()
    entries = (os.path.join(here, entry) if here else entry for entry in sys.path)
    return list(dict.fromkeys(os.path.normpath(entry) for entry in entries if os.path.isabs(entry)))


def _directory() -> str | None:
    """The working directory; None where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


def options(given: dict[str, Any], path: list[str]) -> dict[object, object]:
    """A pool's options as the node takes them, with what is this process's: Python, path, directory, threads."""
    from erl.terms import Atom

    if not (sys.executable or "python" in given):
        raise errors.NodeError(
            "this program does not know its interpreter, as it is embedded in another one (sys.executable is empty): "
            'name one for each pool, {"python": "/usr/bin/python3"}'
        )
    usable = path if interpreters.is_of_this_version(given.get("python")) else interpreters.without_own(path)
    filled: dict[str, Any] = {
        "python": sys.executable,
        "python_path": [entry for entry in usable if os.path.isdir(entry)],
        **given,
    }
    if "sandbox" not in given:
        filled.setdefault("cd", _directory() or "/")
    env = given.get("env", [])
    pairs = list(env.items()) if isinstance(env, dict) else [tuple(pair) for pair in env]
    named = {_text(pair[0]) for pair in pairs}
    filled["env"] = [(each, "1") for each in _THREADS if each not in named] + pairs
    return {Atom(key): value for key, value in filled.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def connect(path: str | os.PathLike[str] | None = None) -> Node:
    """Join the node that listens at `path`, by default at the socket in the user's runtime directory.

    A path that this process has joined already is the same node. Raises `errors.NodeError` where nobody listens, and
    where somebody else may have made the socket.
    """
    from erl.link.conversation import Link

    socket = paths.default() if path is None else paths.short(os.fspath(path))
    with _lock:
        known = _joined.get(socket)
        if known is not None and known.is_up:
            _be_latest(known)
            return known
        paths.check(socket)
        node = Node(Link(connected(socket, _CONNECT_SECONDS)), socket)
        if os.environ.get(NODE_PATH) and socket == os.environ.get(NODE):
            node.pool_path = os.environ[NODE_PATH].split(os.pathsep)
        _joined[socket] = node
        _add(node)
        return node


def here() -> Node:
    """The node that this worker, or this submitted script, belongs to. Raises `errors.NodeError` elsewhere."""
    socket = _socket_here()
    if socket is None:
        raise errors.NodeError(
            "this is no worker and no submitted script, so it belongs to no node: erl.start(), erl.connect()"
        )
    return connect(socket)


def _socket_here() -> str | None:
    if current().bridge is not None:
        for gateway in api.call("py", "gateways", []):
            if gateway["role"] == "driver":
                path = gateway["path"]
                return bytes(path).decode() if isinstance(path, list) else _text(path)
        raise errors.NodeError(
            "this worker's node has no gateway: its configuration opens one, {gateway, #{path => auto}}"
        )
    return os.environ.get(NODE)


def default() -> Node:
    """The node of a worker or a submitted script, else the one that was started or joined last, else a new one."""
    with _lock:
        return latest() or start()


def latest() -> Node | None:
    """The node of a worker or a submitted script, else the one that was started or joined last; None without one."""
    with _lock:
        if current().bridge is not None or NODE in os.environ:
            return here()
        return next((node for node in reversed(_latest) if node.is_up), None)


def _add(node: Node) -> None:
    _known[:] = [each for each in _known if each.is_up]
    _known.append(node)
    _be_latest(node)


def _be_latest(node: Node) -> None:
    _latest[:] = [each for each in _latest if each is not node and each.is_up]
    node.turn = next(_turns)
    _latest.append(node)


def _at_exit() -> None:
    """Nodes that nobody has stopped: those that were started end with this process, and sooner."""
    for node in list(_known):
        if node.is_up:
            node.stop()


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for node in _known:
        node.forked()
    _known.clear()
    _latest.clear()
    _started.clear()
    _joined.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_child)
