"""Where a node's socket is, and whether it is safe to talk to what is there.

Pickles and code go over the link, so whoever makes the socket first must not be somebody else: directory and socket
belong to this user (or to root), and nobody else may write to them.
"""

from __future__ import annotations

import os
import stat

from erl import errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Final

MOST_BYTES: Final = 107
"""The longest name of a Unix socket, on Linux."""


def default() -> str:
    """Where a node listens that is told nothing else: the same rule as `py_gateway_socket` has."""
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        if os.path.isabs(directory := os.environ.get(name, "")):
            break
    else:
        directory = os.path.join(os.path.expanduser("~"), ".local", "state")
    return short(os.path.join(directory, "erl-py", "node.sock"))


def private() -> str:
    """Where a node of this process's own listens. What processes that were killed have left there is taken away."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    directory = os.path.join(runtime, "erl-py") if _is_own(runtime) else f"/tmp/erl-py-{os.geteuid()}"
    _sweep(directory)
    return short(os.path.join(directory, f"{os.getpid()}-{os.urandom(4).hex()}.sock"))


def _is_own(directory: str) -> bool:
    """Whether it can be used. After `su` and `sudo` the variable may name what is another user's."""
    try:
        return (
            os.path.isabs(directory)
            and os.stat(directory).st_uid == os.geteuid()
            and os.path.isdir(directory)
            and os.access(directory, os.W_OK | os.X_OK)
        )
    except OSError:
        return False


def _sweep(directory: str) -> None:
    try:
        found = os.lstat(directory)
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
            return
        for name in os.listdir(directory):
            number, _, rest = name.partition("-")
            if number.isdecimal() and rest.endswith(".sock") and not os.path.exists(f"/proc/{number}"):
                os.unlink(os.path.join(directory, name))
    except OSError:
        return


def short(path: str) -> str:
    """The path, or what stands for one that is too long for a socket."""
    path = os.path.abspath(path)
    data = os.fsencode(path)
    if len(data) <= MOST_BYTES:
        return path
    import hashlib

    return f"/tmp/erl-py-{os.geteuid()}/{hashlib.sha256(data).hexdigest()[:16]}.sock"


def check(path: str) -> None:
    """Raises `errors.NodeError`, which says why, where `path` is no socket, or one that others may have made."""
    directory = os.path.dirname(os.path.abspath(path))
    around = _status(directory, "directory of the socket")
    if not stat.S_ISDIR(around.st_mode):
        raise errors.NodeError(f"{directory} is no directory (a link is not followed)")
    found = _status(path, "socket")
    if not stat.S_ISSOCK(found.st_mode):
        raise errors.NodeError(f"{path} is no socket: no node listens there")
    _check_owner(directory, around)
    _check_owner(path, found)


def _status(path: str, what: str) -> os.stat_result:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        raise errors.NodeError(
            f"there is no {what} {path}: start a node there (python -m erl node), or one of your own (erl.start())"
        ) from None
    except OSError as error:
        raise errors.NodeError(f"the {what} {path} can't be looked at: {error.strerror}") from error


def _check_owner(path: str, found: os.stat_result) -> None:
    if found.st_uid not in (os.geteuid(), 0):
        raise errors.NodeError(
            f"{path} belongs to another user (uid {found.st_uid}), who would get all that is sent there"
        )
    if found.st_mode & 0o077:
        raise errors.NodeError(
            f"{path} may be entered by others (mode {stat.S_IMODE(found.st_mode):04o}): "
            "a node's socket is in a directory of its own, which only its user can enter (mode 0700)"
        )
