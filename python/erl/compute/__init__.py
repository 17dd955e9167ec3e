"""Analyses of large arrays, frame by frame, on any executor: a small `Context`, data sets, user-defined functions.

Everything is imported when it is first used, numpy too.
"""

from __future__ import annotations

from erl.names import lazily

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
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

__getattr__ = lazily.imported(__name__, _HOMES)
