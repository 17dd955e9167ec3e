"""What an interpreter is bound to by its pool: how much memory it gets, and where what it writes to descriptor 2 goes.

Imported when a pool asks for it; each function is called once, before user code runs.
"""

from __future__ import annotations

import os

_FIRST_FREE = 5
"""Descriptors 3 and 4 were the protocol's, and are nobody's."""


def memory(most_bytes: int) -> None:
    """Let this process have no more than `most_bytes` of memory of its own; what would exceed them is a `MemoryError`.

    Counted are the heap and private mappings (RLIMIT_DATA, setrlimit(2)), not what it shares with files. A system that
    has no such limit sets none.
    """
    import resource

    try:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard))
    except (AttributeError, ValueError, OSError):
        return


def standard_error(path: bytes) -> None:
    """Send what is written to descriptors 1 and 2 to the socket at `path`, where the worker process listens.

    Where that can't be, they stay what they are.
    """
    import _socket

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.connect(path)
        for descriptor in (1, 2):
            os.dup2(connection.fileno(), descriptor)
    except OSError:
        return
    finally:
        connection.close()


def count_calls(path: bytes) -> memoryview | None:
    """Eight bytes of the file at `path`, mapped: what is stored there outlives this process. None where it can't be."""
    import mmap

    # The mapping keeps a descriptor, and takes the lowest number: not one that user code may take for the protocol's.
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < _FIRST_FREE:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    try:
        with open(path, "r+b") as file:
            return memoryview(mmap.mmap(file.fileno(), 8))
    except (OSError, ValueError):
        return None
    finally:
        for descriptor in taken:
            os.close(descriptor)
