"""What an interpreter is bound to by its pool. Imported when a pool asks for it."""

from __future__ import annotations


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
