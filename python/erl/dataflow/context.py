"""What a function of a set is told beside its items: where it is, and the inputs that were added."""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class TSetContext:
    """Given to functions that take it, as `ctx`.

    `index`  of the partition; `parallelism`: how many there are
    `id`, `name`  of the set that the function is of
    `worker_id`  the number of the worker, from 0
    `config`  of the environment
    """

    __slots__ = ("_input", "config", "id", "index", "name", "parallelism", "worker_id")

    def __init__(
        self,
        index: int,
        id: int,  # noqa: A002
        name: str,
        worker_id: int,
        parallelism: int,
        config: dict[str, Any],
        get: Callable[[str], Any],
    ) -> None:
        self.index = index
        self.id = id
        self.name = name
        self.worker_id = worker_id
        self.parallelism = parallelism
        self.config = config
        self._input = get

    def get_index(self) -> int:
        """`index`."""
        return self.index

    def get_input(self, name: str) -> Any:
        """The set that was added under this name (`add_input`): `get_partition(i)`; and as a `DataPartition` the
        partition of this index, or the only one. Raises `KeyError`.
        """
        return self._input(name)


class Collector:
    """Takes the items that a function gives."""

    __slots__ = ("collect", "items")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.collect = self.items.append
        """`collect(item)` takes one."""

    def __call__(self, item: Any) -> None:
        self.items.append(item)
