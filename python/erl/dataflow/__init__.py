"""Dataflow: sets in partitions that stay in the workers, operations that are fused into tasks, results that come back.

    from erl.dataflow import Environment, SourceFunc

    env = Environment(resources=[{"cpu": 2, "ram": 1024, "instances": 1}])
    env.parallelize_list(range(100), 4).map(lambda x: x * x).reduce(lambda a, b: a + b).get_data()

A worker imports `erl.dataflow.tasks` alone, so the rest is imported where it is used.
"""

from __future__ import annotations

from erl.names import lazily

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from erl.dataflow.context import TSetContext
    from erl.dataflow.data import DataObject, DataPartition
    from erl.dataflow.environment import Environment, Twister2Environment
    from erl.dataflow.failures import OperationError
    from erl.dataflow.functions import PartitionFunc, SourceFunc
    from erl.dataflow.plan import PlanError
    from erl.dataflow.report import Report
    from erl.dataflow.sets import KeyedTSet, TLink, TSet

__all__ = [
    "DataObject",
    "DataPartition",
    "Environment",
    "KeyedTSet",
    "OperationError",
    "PartitionFunc",
    "PlanError",
    "Report",
    "SourceFunc",
    "TLink",
    "TSet",
    "TSetContext",
    "Twister2Environment",
]

_HOMES = {
    "DataObject": "erl.dataflow.data",
    "DataPartition": "erl.dataflow.data",
    "Environment": "erl.dataflow.environment",
    "KeyedTSet": "erl.dataflow.sets",
    "OperationError": "erl.dataflow.failures",
    "PlanError": "erl.dataflow.plan",
    "Report": "erl.dataflow.report",
    "PartitionFunc": "erl.dataflow.functions",
    "SourceFunc": "erl.dataflow.functions",
    "TLink": "erl.dataflow.sets",
    "TSet": "erl.dataflow.sets",
    "TSetContext": "erl.dataflow.context",
    "Twister2Environment": "erl.dataflow.environment",
}

__getattr__ = lazily.imported(__name__, _HOMES)
