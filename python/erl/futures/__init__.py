"""Executors over the pools of a node: `PoolExecutor`, as those of `concurrent.futures` are, and its futures.

A worker imports `erl.futures.chunks` alone, so the rest is imported where it is used.
"""

from __future__ import annotations

from erl.futures import joblib_finder

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

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
    "PoolExecutor": "erl.futures.executor",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES.get(name, "erl.errors")), name)
    globals()[name] = value
    return value


joblib_finder.watch()
