"""Executors over the pools of a node: `PoolExecutor`, as those of `concurrent.futures` are, and its futures.

A worker imports `erl.futures.chunks` alone, so the rest is imported where it is used.
"""

from __future__ import annotations

from erl.futures import joblib_finder
from erl.names import lazily

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from erl.errors import NodeDownError, NodeError, RemoteError, TaskTimeoutError, WorkerLostError
    from erl.futures.executor import PoolExecutor
    from erl.futures.future import Future
    from erl.futures.pools import InitializerError

__all__ = [
    "Future",
    "InitializerError",
    "NodeDownError",
    "NodeError",
    "PoolExecutor",
    "RemoteError",
    "TaskTimeoutError",
    "WorkerLostError",
]

_HOMES = {
    "Future": "erl.futures.future",
    "InitializerError": "erl.futures.pools",
    "NodeDownError": "erl.errors",
    "NodeError": "erl.errors",
    "PoolExecutor": "erl.futures.executor",
    "RemoteError": "erl.errors",
    "TaskTimeoutError": "erl.errors",
    "WorkerLostError": "erl.errors",
}

__getattr__ = lazily.imported(__name__, _HOMES)

joblib_finder.watch()
