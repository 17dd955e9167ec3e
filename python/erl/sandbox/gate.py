"""The way into a sandbox: bind this process to limits that it can't loosen, become nobody, run the interpreter.

Run as a program of its own by the interpreter of the sandbox, with `-I -S`, before any of its packages is read:

    gate.py USER BYTES SECONDS PROCESSES PROGRAM ARGUMENT...

`-` stands for a limit that is not set, and for a user that stays what it is. All limits are hard ones (setrlimit(2)):
raising them again takes a right that nothing in a sandbox has. They bind each process, also those that it forks; that
of processes binds all of the user's together, in a user namespace those of the namespace (Linux 5.14).
"""

from __future__ import annotations

import os
import resource
import sys

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import NoReturn

_MOST_OPEN_FILES = 1024
_MAPPED_BYTES = 4 << 30
"""Beside its own memory a process may map so much: shared libraries, files, memory that is reserved and not used."""


def bind(most_bytes: int | None, cpu_seconds: int | None, processes: int | None) -> None:
    """Set the limits, and offer this process to the kernel first where the machine runs out of memory."""
    if most_bytes is not None:
        _limit(resource.RLIMIT_DATA, most_bytes)
        _limit(resource.RLIMIT_AS, most_bytes + _MAPPED_BYTES)
    if cpu_seconds is not None:
        # SIGXCPU first, which tells what it was, then SIGKILL.
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    if processes is not None:
        _limit(resource.RLIMIT_NPROC, processes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _MOST_OPEN_FILES)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, most))


def become(user: int) -> None:
    """Be this user, and in the group of the same number only, for good: with that all capabilities are gone."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def main(arguments: list[str]) -> NoReturn:
    """Bind, become, run."""
    user, *limits = (None if text == "-" else int(text) for text in arguments[:4])
    bind(*limits)
    if user is not None:
        become(user)
    os.execv(arguments[4], arguments[4:])


if __name__ == "__main__":
    main(sys.argv[1:])
