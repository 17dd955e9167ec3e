"""Which attempt of a durable run this code is part of, what came with it, and which process of its number this is."""

from __future__ import annotations

from _contextvars import ContextVar

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

attempt: ContextVar[tuple[str, int] | None] = ContextVar("erl.attempt", default=None)
"""The directory of the run's files, empty where it has none (in a sandbox), and the number of the attempt."""


class Boxed:
    """What came with the call of a run in a box, and what goes with its answer."""

    __slots__ = ("given", "kept", "store")

    def __init__(self, given: dict[Any, Any]) -> None:
        self.given = given
        self.kept: list[Any] = []
        self.store: Any = None
        """What has made something of it, and is to be closed."""


boxed: ContextVar[Boxed | None] = ContextVar("erl.boxed", default=None)


def started() -> bytes:
    """When this process was started, as proc(5) has it: field 22. Empty where there is no /proc."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2].split()[19]
    except (OSError, IndexError):
        return b""
