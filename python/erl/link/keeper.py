"""The keeper of a submitted script: a process beside it, which starts its node, and clears away behind it.

It is no child of the script's, which may wait for all of its children, and in a session of its own, so that ^C and the
end of a terminal do not reach it. "A submitted script" in docs/architecture.md has the order of things.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import sys
import tempfile
import time
import zipfile

from erl import errors
from erl.link import nodes

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Final, NoReturn

_LOOK_SECONDS: Final = 0.2


def kept(script: str, archive: str | None, socket: str | None) -> tuple[str, str, str]:
    """Start the keeper of this process: the node's socket, where the script is, the path of the node's workers.

    A node is started where there is no `socket`, else that path is empty; an archive is unpacked where there is one.
    Raises `errors.NodeError`.
    """
    flush()
    # Above the standard streams, which may be closed, and which the keeper gives up.
    low = os.pipe()
    reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in low)
    for fd in low:
        os.close(fd)
    script_pid = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(reads)
        os.setsid()
        if os.fork() == 0:
            _keep(script_pid, writes, script, archive, socket)
        os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with open(reads, "rb") as said:
        kind, *told = said.read().split(b"\0")
    if kind == b"ready" and len(told) == 3:
        return os.fsdecode(told[0]), os.fsdecode(told[1]), os.fsdecode(told[2])
    raise errors.NodeError(os.fsdecode(told[0]) if told else "the node has not started")


def flush() -> None:
    """Write what the standard streams have kept."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _keep(script_pid: int, writes: int, script: str, archive: str | None, socket: str | None) -> NoReturn:
    """Do all that is to be done for the script, and end."""
    node = directory = None
    path = ""
    status = 1
    try:
        _leave_streams()  # before anything gets the number of one that is closed
        script_end = _Process(script_pid)
        if archive is not None:
            directory = tempfile.mkdtemp(prefix="erl-submit-")
            script = _unpacked(archive, script, directory)
        if socket is None:
            # The workers find what the script finds.
            sys.path[:] = [os.path.dirname(script), *(entry for entry in sys.path if entry)]
            node = nodes.start()
            socket, path = node.socket, os.pathsep.join(node.path or ())
        _say(writes, b"ready", os.fsencode(socket), os.fsencode(script), os.fsencode(path))
        os.close(writes)
        script_end.wait()
        status = 0
    except (errors.NodeError, OSError, zipfile.BadZipFile) as error:
        _say(writes, b"failed", os.fsencode(str(error).replace("\0", "")))
    except BaseException as error:
        _say(writes, b"failed", os.fsencode(repr(error).replace("\0", "")))
    finally:
        try:
            if node is not None:
                node.stop()
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)
        finally:
            os._exit(status)


def _say(writes: int, *told: bytes) -> None:
    try:
        os.write(writes, b"\0".join(told))
    except OSError:  # nobody waits for it any more
        return


def _leave_streams() -> None:
    """Let go of the script's input and output; to its standard error goes what tasks write there."""
    null = os.open(os.devnull, os.O_RDWR)
    while null < 3:
        null = os.dup(null)
    os.dup2(null, 0)
    os.dup2(null, 1)
    if sys.stderr is None:
        os.dup2(null, 2)


def _unpacked(archive: str, entry: str, directory: str) -> str:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(directory)
    return os.path.normpath(os.path.join(directory, entry))


class _Process:
    """A process that is no child of this one."""

    def __init__(self, os_pid: int) -> None:
        self._os_pid = os_pid
        try:
            self._fd: int | None = os.pidfd_open(os_pid)  # type: ignore[attr-defined,unused-ignore]
        except (AttributeError, OSError):
            self._fd = None

    def wait(self) -> None:
        """Wait for its end."""
        if self._fd is not None:
            select.select([self._fd], [], [])
            return
        while True:
            try:
                os.kill(self._os_pid, 0)
            except OSError:
                return
            time.sleep(_LOOK_SECONDS)  # where the system has no better way
