"""What was done for an environment, counted."""

from __future__ import annotations


class Report:
    """Counts, from the beginning of an environment on.

    `tasks`          that ended well
    `recomputed`     partitions of kept sets that were made again, since the worker that had them was lost
    `workers_lost`   deaths of workers that were met
    `moved_bytes`    between workers: blocks of exchanges, and inputs
    `spilled_bytes`  from the workers' memory to disk
    `seconds`        that the program has waited for results
    """

    __slots__ = ("moved_bytes", "recomputed", "seconds", "spilled_bytes", "tasks", "workers_lost")

    def __init__(self) -> None:
        self.tasks = 0
        self.recomputed = 0
        self.workers_lost = 0
        self.moved_bytes = 0
        self.spilled_bytes = 0
        self.seconds = 0.0

    def as_dict(self) -> dict[str, float]:
        """The counts by their names."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __repr__(self) -> str:
        return (
            f"<Report: {self.tasks} tasks in {self.seconds:.1f} s, {self.recomputed} partitions recomputed, "
            f"{self.workers_lost} workers lost, {self.moved_bytes} bytes moved, {self.spilled_bytes} spilled>"
        )
