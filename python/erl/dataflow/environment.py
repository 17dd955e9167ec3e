"""`Environment`: the entry point. It has the workers, makes sources, and ends what it has begun."""

from __future__ import annotations

import itertools
import secrets
import weakref
from collections.abc import Mapping
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

from erl.dataflow import engines, plan, runner
from erl.dataflow.functions import Functions, SourceFunc, described
from erl.dataflow.sets import KeyedTSet, TSet

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

    from erl.dataflow.report import Report
    from erl.executors import Executor
    from erl.link import Node


class Environment:
    """Workers, and the sets whose partitions are in them.

    `name`       what progress and reports call it
    `config`     a dictionary that the functions have as well (`ctx.config`)
    `resources`  `[{"cpu": 2, "ram": 1024, "instances": 1}]`: instances x cpu workers, each with ram / cpu MB of
                 memory of its own; a worker for each processor where there is none
    `node`       the default node where there is none (`erl.link.default`)
    `executor`   one of `erl.executors` or of `concurrent.futures`, or "inline", "threads" or "pool", in place of
                 workers of its own; it is the caller's to close
    `seed`       of `random` and `numpy.random` in the sources; drawn by lot where there is none
    `mpi_aware`  is one of Twister2's, and changes nothing: there is no MPI here

    With `with` it is closed at the end.
    """

    def __init__(
        self,
        name: str | None = None,
        config: dict[str, Any] | None = None,
        resources: list[dict[str, Any]] | None = None,
        *,
        node: Node | None = None,
        executor: Executor | concurrent.futures.Executor | str | None = None,
        seed: int | None = None,
        mpi_aware: bool = False,
    ) -> None:
        self.name = name or "dataflow"
        if config is not None and not isinstance(config, Mapping):
            raise TypeError(f"config is a dictionary, not {type(config).__name__}")
        self.config: dict[str, Any] = dict(config or {})
        self.functions = Functions()
        """`functions.partition.load_balanced`."""
        self.seed = secrets.randbits(64) if seed is None else seed
        """What the numbers of the sources are drawn by: the same seed, the same numbers."""
        self._numbers = itertools.count(1)
        self._engine = engines.engine(executor, node, engines.checked(resources))
        self._runner = runner.Runner(self._engine, self.name, self.config, self.seed, self._numbers)
        self._end = weakref.finalize(self, self._runner.close)
        self._end.atexit = False

    @property
    def worker_id(self) -> int:
        """0: this is the driver. In the workers `ctx.worker_id`."""
        return 0

    @property
    def report(self) -> Report:
        """What has been done until now: tasks, partitions that were made again, workers that were lost."""
        return self._runner.report

    def peers(self) -> list[int]:
        """The numbers of the workers."""
        return list(range(self._engine.size))

    def create_source(self, source_function: SourceFunc, parallelism: int = 0) -> TSet:
        """A set of what a source gives, in so many partitions, each with a copy of it; as many as workers for 0."""
        return TSet(self, self._source(source_function, parallelism))

    def create_keyed_source(self, source_function: SourceFunc, parallelism: int = 0) -> KeyedTSet:
        """The same of a source of pairs, (key, value)."""
        return KeyedTSet(self, self._source(source_function, parallelism))

    def parallelize_list(self, lst: Any, parallelism: int = 0) -> TSet:
        """A set of the items of a list, in order, in partitions of nearly equal size."""
        return TSet(self, self._parallelized("list", list(lst), parallelism))

    def parallelize_dict(
        self, kv_map: Any, parallelism: int = 0, key_comparator: Callable[[Any, Any], int] | None = None
    ) -> KeyedTSet:
        """A set of the pairs of a dictionary, in its order, or by its keys as `key_comparator(one, other)` orders them:
        below 0, 0, or above.
        """
        if not isinstance(kv_map, Mapping):
            raise TypeError(f"parallelize_dict takes a dictionary, not {type(kv_map).__name__}")
        pairs = list(kv_map.items())
        if key_comparator is not None:
            in_order = cmp_to_key(key_comparator)
            pairs.sort(key=lambda pair: in_order(pair[0]))
        return KeyedTSet(self, self._parallelized("dict", pairs, parallelism))

    def _source(self, source: SourceFunc, parallelism: int) -> plan.Operation:
        if not isinstance(source, SourceFunc):
            raise TypeError(f"source_function should be an instance of {SourceFunc}")
        made = self._operation("source", None, (), self._count(parallelism), {"source": source})
        made.options["text"] = f"source({described(type(source))})"
        return made

    def _parallelized(self, kind: str, items: list[Any], parallelism: int) -> plan.Operation:
        return self._operation(kind, None, (), self._count(parallelism), {"items": items})

    def _count(self, parallelism: int) -> int:
        self._runner.check_open()
        if type(parallelism) is not int or parallelism < 0:
            raise ValueError(f"parallelism is a number of partitions, or 0, not {parallelism!r}")
        return parallelism or self._engine.size

    def _operation(
        self,
        kind: str,
        function: Any,
        parents: tuple[plan.Operation, ...],
        parallelism: int,
        options: dict[str, Any],
    ) -> plan.Operation:
        self._runner.check_open()
        return plan.Operation(kind, next(self._numbers), function, parents, parallelism, options)

    def close(self) -> None:
        """End it: partitions are freed, workers of its own end. Closing twice is no error."""
        self._end()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a function can't have the environment, which is the driver's: ctx.config has its config"
        )

    def __enter__(self) -> Environment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Environment {self.name!r} on {self._engine!r}>"


Twister2Environment = Environment
