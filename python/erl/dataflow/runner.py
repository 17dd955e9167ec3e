"""The runner: evaluates plans over an executor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from erl.dataflow.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from erl.dataflow import plan
    from erl.dataflow.data import DataObject
    from erl.dataflow.engines import Engine


class Runner:
    """Evaluates the plans of one environment."""

    def __init__(
        self, engine: Engine, name: str, config: dict[str, Any], seed: int, numbers: Iterator[int]
    ) -> None:
        self._engine = engine
        self.report = Report()

    def effects(self, operation: plan.Operation) -> None:
        """Compute it for the sake of what its functions do."""
        raise NotImplementedError

    def keep(self, operation: plan.Operation, kind: str, path: Any) -> plan.Operation:
        """The set that keeps what it gives."""
        raise NotImplementedError

    def data(self, operation: plan.Operation) -> DataObject:
        """Its items, for the driver."""
        raise NotImplementedError

    def close(self) -> None:
        """Free all that is kept; end the workers that are the environment's."""
        self._engine.close()
