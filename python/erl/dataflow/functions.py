"""What users write: sources, functions that partition; and how a function of theirs is called."""

from __future__ import annotations

import types
from abc import ABC, abstractmethod

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class SourceFunc(ABC):
    """Where items come from: `next` gives one after the other, as long as `has_next` says that there is another.

    Each partition has a copy of its own.
    """

    def __init__(self) -> None:  # noqa: B027
        """Need not be called."""

    @abstractmethod
    def has_next(self) -> bool:
        """Whether there is another item."""
        return False

    @abstractmethod
    def next(self) -> Any:
        """The next item."""
        return None


class PartitionFunc(ABC):
    """Where items go. Each partition that is a source has a copy of its own.

    `prepare` is called once, with the indices of the sources and of the destinations; `partition` for each item, of
    which it gives the destination; `commit` behind it, with what `partition` has given.
    """

    def __init__(self) -> None:  # noqa: B027
        """Need not be called."""

    @abstractmethod
    def prepare(self, sources: set[int], destinations: set[int]) -> None:
        """Called before the first item."""

    @abstractmethod
    def partition(self, source_index: int, val: Any) -> int:
        """The destination of an item, or of its key; one of `destinations`."""

    @abstractmethod
    def commit(self, source_index: int, partition: int) -> Any:
        """An item goes there."""

    @property
    def pre_defined(self) -> bool:
        """Whether it is one of `Environment.functions`."""
        return False


class LoadBalanced(PartitionFunc):
    """As many items for each destination, however they lay before: one more for some where they can't be divided."""

    def prepare(self, sources: set[int], destinations: set[int]) -> None:
        self._destinations = sorted(destinations)
        self._next: dict[int, int] = {}

    def partition(self, source_index: int, val: Any) -> int:
        number = self._next.get(source_index, source_index)
        return self._destinations[number % len(self._destinations)]

    def commit(self, source_index: int, partition: int) -> None:
        self._next[source_index] = self._next.get(source_index, source_index) + 1

    @property
    def pre_defined(self) -> bool:
        return True


class PartitionFunctions:
    """`env.functions.partition`."""

    @property
    def load_balanced(self) -> PartitionFunc:
        """For `TSet.partition`: as many items for each partition."""
        return LoadBalanced()


class Functions:
    """`env.functions`: functions that need not be written."""

    def __init__(self) -> None:
        self.partition = PartitionFunctions()


def positional(function: Callable[..., Any]) -> int:
    """How many arguments a function must be given by position; 1 for one that does not say, as builtins and ufuncs."""
    if isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        return max(1, code.co_argcount - len(function.__defaults__ or ()))
    if isinstance(function, types.BuiltinFunctionType):
        return 1
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return max(1, sum(each.kind in kinds and each.default is each.empty for each in parameters))


def described(function: Any) -> str:
    """A function's name and where it stands, for whoever has to find it."""
    while hasattr(function, "func") and not hasattr(function, "__name__"):  # a `partial`
        function = function.func
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    code = getattr(function, "__code__", None)
    if code is None:
        return str(name)
    return f"{name.rpartition('<locals>.')[2]} at {code.co_filename.rpartition('/')[2]}:{code.co_firstlineno}"
