"""What the driver knows of what workers have: sets that are kept, exchanges that have taken place. Names, and no
data.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from erl.dataflow.blocks import DISK, FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from erl.dataflow.blocks import Block
    from erl.dataflow.plan import Operation

Place = tuple[int, str]
"""Where a partition is: the number of the worker, and the token of the process that it was then."""


class Hold:
    """What a set's user has of it, and whatever is going to read it: as long as anybody has this, partitions stay."""

    __slots__ = ("__weakref__",)


class Kept:
    """A set that is kept, or is to be: where its partitions are, and the plan by which they are made again."""

    def __init__(self, set_id: int, count: int, plan: Operation | None, path: str | None) -> None:
        self.set_id = set_id
        self.count = count
        self.plan = plan
        """Frozen; what it is made by. None where it is a value that the driver has."""
        self.path = path
        """The directory of a set that is persisted."""
        self.is_made = False
        self.is_sent = False
        """Whether it is kept as blocks, and not in the workers."""
        self.is_freed = False
        self.places: list[Place | None] = [None] * count
        self.values: dict[int, list[Block]] = {}
        """Partitions as blocks: persisted ones, those of workers that keep nothing, those that others were sent."""
        self.nbytes = [0] * count
        self.were_made = [False] * count
        self.own_paths: set[str] = set()
        """Files of blocks that go with it."""

    def is_there(self, index: int) -> bool:
        """Whether the driver knows of a place where this partition is."""
        return index in self.values or self.places[index] is not None

    def missing(self) -> list[int]:
        """The partitions that are nowhere."""
        return [index for index in range(self.count) if not self.is_there(index)]


class Exchanged:
    """The blocks of an exchange: of each side, of each partition before it, for each one behind it."""

    def __init__(self, sides: list[list[list[list[Block]] | None]], counts: list[list[int]]) -> None:
        self.sides = sides
        self.counts = counts
        self._paths: set[str] = set()
        self._owners: dict[int, int] = {}
        """The workers that have files without a name, by the numbers of their tasks."""

    def finalize(self, call: Callable[[tuple[set[str], dict[int, int]]], None]) -> None:
        """Tell which files nobody needs any more, when this is gone."""
        self._end = weakref.finalize(self, call, (self._paths, self._owners))
        self._end.atexit = False

    def add(
        self, side: int, index: int, boxes: list[list[Block]], count: int, number: int, worker: int | None
    ) -> None:
        """What a partition has left."""
        self.sides[side][index] = boxes
        self.counts[side][index] = count
        for blocks in boxes:
            for block in blocks:
                if block.kind == FILE:
                    self._paths.add(block.where)
                elif block.kind == DISK:
                    self._owners[number] = worker or 0

    def take_over(self, other: Exchanged) -> None:
        """Its files are this one's."""
        self._paths |= other._paths
        self._owners.update(other._owners)
        other._paths.clear()
        other._owners.clear()

    def lose(self, path: str) -> None:
        """A block is not there any more."""
        for side in self.sides:
            for index, boxes in enumerate(side):
                if any(block.where == path for blocks in boxes or () for block in blocks):
                    side[index] = None

    @property
    def nbytes(self) -> int:
        """Of all blocks."""
        return sum(block.nbytes for block in self._all())

    def lies_in_workers(self) -> bool:
        """Whether some of it goes with a worker."""
        return any(block.kind == DISK for block in self._all())

    def _all(self) -> Iterator[Block]:
        for side in self.sides:
            for boxes in side:
                for blocks in boxes or ():
                    yield from blocks


def held(operation: Operation) -> Hold:
    """The hold of an operation that is kept; a new one where there is none."""
    hold = operation.options.get("hold")
    if hold is None:
        hold = operation.options["hold"] = Hold()
    assert isinstance(hold, Hold)
    return hold


def when_free(hold: Hold, call: Any, *args: Any) -> None:
    """Call it when nobody has the hold any more."""
    weakref.finalize(hold, call, *args).atexit = False
