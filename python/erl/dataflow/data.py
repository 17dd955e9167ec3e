"""The items of a set as the driver has them: a partition is fetched from its worker when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class DataPartition:
    """One partition of a set."""

    def __init__(self, id: int, items: Callable[[], Iterator[Any]]) -> None:  # noqa: A002
        self.id = id
        """Its index."""
        self._items = items

    def consumer(self) -> Iterator[Any]:
        """Its items, from the first one on each time."""
        return self._items()

    __iter__ = consumer

    def first(self) -> Any:
        """Its first item; None where it has none."""
        return self.first_or_default(None)

    def first_or_default(self, default: Any) -> Any:
        """Its first item, or that where it has none."""
        first = getattr(self._items, "first", self._items)
        return next(first(), default)

    def __repr__(self) -> str:
        return f"<DataPartition {self.id}>"


class DataObject:
    """The partitions of a set."""

    def __init__(self, id: int, partitions: list[DataPartition]) -> None:  # noqa: A002
        self.id = id
        """The number of the set."""
        self._partitions = partitions

    @property
    def partition_count(self) -> int:
        """How many there are."""
        return len(self._partitions)

    def get_partitions(self) -> list[DataPartition]:
        """All, in order."""
        return list(self._partitions)

    def get_partition(self, partition_id: int) -> DataPartition:
        """One of them. Raises `IndexError`."""
        if not 0 <= partition_id < len(self._partitions):
            raise IndexError(f"partition {partition_id} of {len(self._partitions)}")
        return self._partitions[partition_id]

    def __repr__(self) -> str:
        return f"<DataObject {self.id} of {len(self._partitions)} partitions>"
