"""Sets and links as users have them: each operation gives another one, nothing is computed before it is asked for.

A function is given `ctx`, a `TSetContext`, behind its item where it has a second positional parameter without a
default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from erl.dataflow import plan
from erl.dataflow.functions import PartitionFunc

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from erl.dataflow.data import DataObject


class _Flow:
    """What sets and links have in common."""

    def __init__(self, env: Any, operation: plan.Operation) -> None:
        self._env = env
        self._operation = operation

    @property
    def id(self) -> int:
        """Its number in its environment."""
        return self._operation.id

    @property
    def name(self) -> str:
        """What it is called in errors and in `explain`."""
        return self._operation.name

    @property
    def parallelism(self) -> int:
        """How many partitions it has."""
        return self._operation.parallelism

    def map(self, map_func: Callable[..., Any]) -> TSet:
        """`map_func(item)`, or `map_func(item, ctx)`, of each item."""
        return self._set("map", map_func)

    def flat_map(self, flat_map_func: Callable[..., Any]) -> TSet:
        """The items of what `flat_map_func(item)` gives, or what `flat_map_func(item, collector)` collects."""
        return self._set("flat_map", flat_map_func)

    def compute(self, compute_func: Callable[..., Any]) -> TSet:
        """Of each partition what `compute_func(iterator)` or `compute_func(iterator, ctx)` gives: one item.

        `compute_func(iterator, collector, ctx)`: the items that it collects.
        """
        return self._set("compute", compute_func)

    def sink(self, sink_func: Callable[..., Any]) -> None:
        """Call `sink_func(item)`, or `sink_func(item, ctx)`, in the workers, now. What it prints is printed here, in
        the order of the partitions.
        """
        self._env._runner.effects(self._next("sink", sink_func))

    def for_each(self, foreach_func: Callable[..., Any]) -> None:
        """Call `foreach_func(item)`, or `foreach_func(item, ctx)`, in the workers, now; see `sink`."""
        self._env._runner.effects(self._next("for_each", foreach_func))

    def run(self) -> None:
        """Compute it, now, for the sake of what its functions do."""
        self._env._runner.effects(self._operation)

    def add_input(self, name: str, input_tset: _Flow) -> Any:
        """Have its functions, and those behind it, find another set under this name: `ctx.get_input(name)`. The last
        one wins. Gives this same set.
        """
        if not isinstance(input_tset, _Flow):
            raise TypeError(f"an input is a set or a link, not {type(input_tset).__name__}")
        if input_tset._env is not self._env:
            raise ValueError(f"input {name!r} belongs to another environment")
        self._operation.inputs[name] = input_tset._operation
        return self

    def cache(self) -> Any:
        """Compute it now. What it gives stays as it is, whatever becomes of the inputs, in the workers' memory."""
        return self._kept("cache", None)

    def lazy_cache(self) -> Any:
        """As `cache`, with the inputs of now; computed when it is used first."""
        return self._kept("lazy_cache", None)

    def persist(self, path: str | os.PathLike[str] | None = None) -> Any:
        """As `cache`, in files of a directory, which stay: what is lost with a worker is read there, and nothing
        before it is needed any more. Without a path, in shared memory.
        """
        return self._kept("persist", path)

    def get_data(self) -> DataObject:
        """Its items, which stay in the workers until they are asked for; computed now unless that was done."""
        data: DataObject = self._env._runner.data(self._operation)
        return data

    def explain(self) -> None:
        """Print how it is computed: what is one task, what goes from worker to worker, what is there already."""
        print(plan.explained(self._operation))

    def _next(
        self, kind: str, function: Any = None, parallelism: int | None = None, **options: Any
    ) -> plan.Operation:
        if kind in plan.CALLED and not callable(function):
            raise TypeError(f"{kind} takes a function, not {type(function).__name__}")
        made: plan.Operation = self._env._operation(
            kind, function, (self._operation,), parallelism or self.parallelism, options
        )
        return made

    def _set(self, kind: str, function: Any) -> TSet:
        return TSet(self._env, self._next(kind, function))

    def _kept(self, kind: str, path: Any) -> Any:
        kept = self._env._runner.keep(self._operation, kind, path)
        return (KeyedTSet if isinstance(self, KeyedTSet) else TSet)(self._env, kept)

    def __reduce__(self) -> Any:
        raise TypeError(
            f"a function can't have the set {self.name}: add_input(name, set) gives it one, "
            "and ctx.get_input(name) reads it"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} of {self.parallelism} partitions>"


class TLink(_Flow):
    """What comes out of a set, or of what brings partitions together, on its way to the next one."""

    def direct(self) -> TLink:
        """This link."""
        return self


class TSet(_Flow):
    """Items in partitions."""

    def direct(self) -> TLink:
        """Its items, partition by partition, where they are."""
        return TLink(self._env, self._operation)

    def reduce(self, reduce_func: Callable[[Any, Any], Any]) -> TLink:
        """All items folded into one, in one partition: in the order of the partitions, by a tree that their number
        alone decides. Of no items: none.
        """
        return self._link("reduce", reduce_func, 1)

    def all_reduce(self, reduce_func: Callable[[Any, Any], Any]) -> TLink:
        """As `reduce`; each partition has the one item."""
        return self._link("all_reduce", reduce_func)

    def gather(self) -> TLink:
        """All items in one partition, each as `(index of its partition, item)`."""
        return self._link("gather", None, 1)

    def all_gather(self) -> TLink:
        """As `gather`; each partition has all."""
        return self._link("all_gather", None)

    def partition(self, partition_func: PartitionFunc, parallelism: int = 0) -> TLink:
        """The items in other partitions, as many as before unless said: where `partition_func` says."""
        return self._link("partition", _checked(partition_func), parallelism or None)

    def union(self, other: Any) -> TSet:
        """The items of this set and of the others: those of all partitions of one index are one partition."""
        others = list(other) if isinstance(other, (list, tuple)) else [other]
        for each in others:
            if not isinstance(each, _Flow) or each._env is not self._env:
                raise TypeError(f"a union is one of sets of the same environment, not of {each!r}")
        sets = [self, *others]
        operation = self._env._operation(
            "union", None, tuple(each._operation for each in sets), max(each.parallelism for each in sets), {}
        )
        return (KeyedTSet if all(isinstance(each, KeyedTSet) for each in sets) else TSet)(
            self._env, operation
        )

    # Of sets whose items are pairs, (key, value)

    def keyed_direct(self) -> TLink:
        """As `direct`."""
        return self.direct()

    def keyed_reduce(self, reduce_func: Callable[[Any, Any], Any]) -> TLink:
        """For each key its values folded into one: pairs `(key, value)`."""
        return self._link("keyed_reduce", reduce_func)

    def keyed_gather(
        self,
        partition_func: PartitionFunc | None = None,
        key_comparator: Callable[[Any, Any], int] | None = None,
        use_disk: bool = False,
    ) -> TLink:
        """For each key all its values: pairs `(key, [value, ...])`, in the order of the partitions.

        `partition_func` says in which partition a key is, `key_comparator(one, other)`, which gives a number below, of,
        or above 0, in which order keys come and which are the same; with `use_disk` they need not fit into memory.
        """
        if key_comparator is not None and not callable(key_comparator):
            raise TypeError(f"key_comparator is a function, not {type(key_comparator).__name__}")
        return self._link(
            "keyed_gather",
            _checked(partition_func, True),
            comparator=key_comparator,
            use_disk=bool(use_disk),
        )

    def keyed_partition(self, partition_func: PartitionFunc) -> TLink:
        """The pairs in other partitions: where `partition_func` says by their keys."""
        return self._link("keyed_partition", _checked(partition_func))

    def join(
        self,
        other: Any,
        join_type: str = "inner",
        partition_func: PartitionFunc | None = None,
        key_comparator: Callable[[Any, Any], int] | None = None,
    ) -> TLink:
        """Pairs `(key, (value here, value there))` of keys that both sets have; `join_type` is "inner", "left",
        "right" or "outer": None stands for a value that one of them has not.
        """
        if not isinstance(other, _Flow) or other._env is not self._env:
            raise TypeError(f"a join is one with a set of the same environment, not with {other!r}")
        kind = (
            str(getattr(join_type, "name", join_type))
            .lower()
            .replace("full_outer", "outer")
            .replace("full", "outer")
        )
        if kind not in plan.JOINS:
            raise ValueError(f"join_type is one of {', '.join(plan.JOINS)}, not {join_type!r}")
        operation = self._env._operation(
            "join",
            _checked(partition_func, True),
            (self._operation, other._operation),
            max(self.parallelism, other.parallelism),
            {"join_type": kind, "comparator": key_comparator},
        )
        return TLink(self._env, operation)

    def _link(self, kind: str, function: Any, parallelism: int | None = None, **options: Any) -> TLink:
        return TLink(self._env, self._next(kind, function, parallelism, **options))


class KeyedTSet(TSet):
    """A set whose items are pairs, (key, value)."""


def _checked(function: Any, may_be_none: bool = False) -> Any:
    if isinstance(function, PartitionFunc) or (may_be_none and function is None):
        return function
    raise TypeError(f"partition_func should be an instance of {PartitionFunc}")
