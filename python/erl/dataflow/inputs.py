"""Inputs as functions have them: another set, by its partitions; those of this worker, and those that were sent
here.
"""

from __future__ import annotations

from itertools import chain

from erl.dataflow.data import DataObject, DataPartition
from erl.dataflow.store import store

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from erl.dataflow.blocks import Block


class WantedError(BaseException):
    """Raised where a partition is asked for that lies in another worker and was not sent: it is, then, and the task is
    run again. No `Exception`, so that functions let it through.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class MissingError(BaseException):
    """Raised where a partition is asked for that should be here, and is not: the worker was lost since."""

    def __init__(self, key: tuple[str, int, int]) -> None:
        super().__init__(key)
        self.key = key


class Given:
    """An input on its way to a task: `here` are the partitions that lie in the worker, `sent` those that go with it."""

    __slots__ = ("count", "env", "here", "name", "sent", "set_id")

    def __init__(
        self,
        name: str,
        env: str,
        set_id: int,
        count: int,
        here: frozenset[int],
        sent: dict[int, list[Block]],
    ) -> None:
        self.name = name
        self.env = env
        self.set_id = set_id
        self.count = count
        self.here = here
        self.sent = sent

    def __reduce__(self) -> Any:
        return Given, (self.name, self.env, self.set_id, self.count, self.here, self.sent)


class Input(DataObject):
    """A set that was added; of its partitions the one with the task's index, or the only one, is at hand as well."""

    def __init__(self, given: Given, index: int) -> None:
        super().__init__(
            given.set_id, [DataPartition(each, _Items(given, each)) for each in range(given.count)]
        )
        self._index = 0 if given.count == 1 else index

    def consumer(self) -> Iterator[Any]:
        """The items of the partition of this index, or of the only one."""
        return self.get_partition(self._index).consumer()

    __iter__ = consumer

    def first(self) -> Any:
        """Its first item; None where it has none."""
        return self.get_partition(self._index).first()

    def first_or_default(self, default: Any) -> Any:
        """Its first item, or that where it has none."""
        return self.get_partition(self._index).first_or_default(default)


class _Items:
    """The items of one partition of an input, from the first one on each time."""

    def __init__(self, given: Given, index: int) -> None:
        self._given = given
        self._index = index

    def __call__(self) -> Iterator[Any]:
        given, index = self._given, self._index
        key = (given.env, given.set_id, index)
        if store.has(key):
            return chain.from_iterable(store.batches(key))
        if index in given.sent:
            return chain.from_iterable(block.read() for block in given.sent[index])
        if index in given.here:
            raise MissingError(key)
        raise WantedError(given.name)
