"""What tests of data flows are made of: sources, and what sets hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from erl.dataflow import SourceFunc

if TYPE_CHECKING:
    from erl.dataflow import TLink, TSet


class IntegerSource(SourceFunc):  # as the document has it
    def __init__(self, limit: int) -> None:
        super().__init__()
        self.x = 0
        self.limit = limit

    def has_next(self) -> bool:
        return self.x < self.limit

    def next(self) -> int:
        self.x += 1
        return self.x


def partitions(of: TSet | TLink) -> list[list[Any]]:
    """The items of each partition, in order."""
    return [list(each.consumer()) for each in of.cache().get_data().get_partitions()]


def items(of: TSet | TLink) -> list[Any]:
    """The items of all partitions, one after the other."""
    return [item for each in partitions(of) for item in each]
