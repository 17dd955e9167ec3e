"""The port's program where a zygote forks: `python -s -S stub.py SOCKET PYTHON -c PROGRAM DIRECTORY FLAG...`.

It hands its descriptors (2, 3 and 4) to the zygote that listens at SOCKET, waits, and ends as the fork ended: with its
exit status, or with 128 and the number of its signal. Until it is told that there is a fork it can become what it
stands for, `PYTHON -c ...`, and does where there is no zygote or none that forks.

    > FLAG...     lines, with the three descriptors
    < pid N       with a pidfd of the fork
    < exit N      the fork has ended

The zygote ends the fork with this process. Where the zygote ends first, the fork serves on, and how it ends nobody can
say. See "Preloaded workers" in docs/architecture.md. A bare interpreter reads it: it imports little.
"""

from __future__ import annotations

import _socket
import sys
from _signal import SIG_IGN, SIGINT, signal  # type: ignore[import-not-found]
from posix import _exit, close, execv
from select import POLLIN, poll

_UNKNOWN = 70
"""The exit status where nobody can say how the fork ended."""
_TELL_MS = 1_000
"""So long after the end of the fork a zygote that lives has told how."""
_ERRORS, _IN, _OUT = 2, 3, 4
_FLAGS = 6
"""Where they begin in `sys.argv`."""


def _plain() -> None:
    execv(sys.argv[2], sys.argv[2:])


def _fork(link: _socket.socket) -> tuple[int, bytes]:
    """Ask for a fork; its pidfd, and what else has come."""
    try:
        link.connect(sys.argv[1])
        rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (_ERRORS, _IN, _OUT))
        flags = "\n".join(sys.argv[_FLAGS:]).encode()
        link.sendmsg([flags], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        said, control, _, _ = link.recvmsg(100, _socket.CMSG_SPACE(4))
    except OSError:
        _plain()
    if not said:
        _plain()
    return int.from_bytes(control[0][2], sys.byteorder), said


def main() -> None:
    """Wait for the fork's end."""
    signal(SIGINT, SIG_IGN)  # an interrupt typed in the shell is the shell's
    link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    pidfd, said = _fork(link)
    # Now they are the fork's: Erlang is to see when it closes them.
    close(_IN)
    close(_OUT)
    waiting = poll()
    waiting.register(link.fileno(), POLLIN)
    waiting.register(pidfd, POLLIN)
    is_over = False
    while True:
        _, found, rest = said.partition(b"exit ")
        if found and rest.endswith(b"\n"):
            _exit(int(rest))
        ready = [fd for fd, _ in waiting.poll(_TELL_MS if is_over else None)]
        if not ready:
            _exit(_UNKNOWN)
        if pidfd in ready:
            is_over = True
            waiting.unregister(pidfd)
        if link.fileno() in ready:
            more = link.recv(100)
            said += more
            if not more:
                # The zygote has ended: what is left to wait for is the fork.
                if not is_over:
                    waiting.unregister(link.fileno())
                    waiting.poll()
                _exit(_UNKNOWN)


if __name__ == "__main__":
    main()
