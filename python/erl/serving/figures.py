"""What a front has answered, counted."""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of latencies, in seconds; above them is one more place."""


class Figures:
    """Requests by status, their latencies, and how many are open. Counters only grow."""

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.places = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.left = 0
        """Clients that went away before their answer."""
        self.open = 0
        self.is_changed = True

    def begun(self) -> None:
        """A request is here."""
        self.open += 1
        self.is_changed = True

    def ended(self) -> None:
        """It is not any more, however it ended."""
        self.open -= 1
        self.is_changed = True

    def refused(self, status: int) -> None:
        """A request that never was one."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.is_changed = True

    def answered(self, status: int, seconds: float) -> None:
        """An answer, and how long it took."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.seconds += seconds
        self.places[bisect_left(BOUNDS, seconds)] += 1

    def said(self) -> dict[str, Any]:
        """All of it, for the node."""
        self.is_changed = False
        return {
            "statuses": dict(self.statuses),
            "places": list(self.places),
            "microseconds": int(self.seconds * 1_000_000),
            "left": self.left,
            "open": self.open,
        }
