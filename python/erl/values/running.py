"""Which attempt of a durable run this code is part of, and which process of its number this is."""

from __future__ import annotations

from _contextvars import ContextVar

attempt: ContextVar[tuple[str, int] | None] = ContextVar("erl.attempt", default=None)
"""The directory of the run's files, empty where it has none (in a sandbox), and the number of the attempt."""


def started() -> bytes:
    """When this process was started, as proc(5) has it: field 22. Empty where there is no /proc."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2].split()[19]
    except (OSError, IndexError):
        return b""
