"""Analyses of large arrays, frame by frame, on any executor: a small `Context`, data sets, user-defined functions.

Everything is imported when it is first used, numpy too.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.compute.analyses import Analysis
    from erl.compute.buffers import Buffer, BufferResult
    from erl.compute.context import Context, analyse
    from erl.compute.datasets import DataSet
    from erl.compute.results import AnalysisResult, AnalysisResultSet
    from erl.compute.shapes import Shape
    from erl.compute.udf import UDF
    from erl.errors import DataSetError, ExecutorSpecException

__all__ = [
    "UDF",
    "Analysis",
    "AnalysisResult",
    "AnalysisResultSet",
    "Buffer",
    "BufferResult",
    "Context",
    "DataSet",
    "DataSetError",
    "ExecutorSpecException",
    "Shape",
    "analyse",
]

_HOMES = {
    "Analysis": "erl.compute.analyses",
    "AnalysisResult": "erl.compute.results",
    "AnalysisResultSet": "erl.compute.results",
    "Buffer": "erl.compute.buffers",
    "BufferResult": "erl.compute.buffers",
    "Context": "erl.compute.context",
    "DataSet": "erl.compute.datasets",
    "DataSetError": "erl.errors",
    "ExecutorSpecException": "erl.errors",
    "Shape": "erl.compute.shapes",
    "UDF": "erl.compute.udf",
    "analyse": "erl.compute.context",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
