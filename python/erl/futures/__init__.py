"""Executors over the pools of a node: `PoolExecutor`, as those of `concurrent.futures` are, and its futures."""

from __future__ import annotations

from erl.errors import NodeDownError, NodeError, RemoteError, TaskTimeoutError, WorkerLostError
from erl.futures import joblib_finder
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

joblib_finder.watch()
