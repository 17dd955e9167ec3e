"""Executors of jobs, all with one interface: in this process, over any of `concurrent.futures`, over a pool of a node,
over a cluster of dask's.

In a task: `get(key)` is what `put` has left in this worker, `publish(topic, message)` reaches who has subscribed.
A worker imports `erl.executors.calls` alone, so the rest is imported where it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.errors import JobCancelledError
    from erl.executors.calls import get, publish
    from erl.executors.dask import DaskExecutor
    from erl.executors.interface import Executor, Handle
    from erl.executors.local import ConcurrentExecutor, InlineExecutor
    from erl.executors.otp import OtpExecutor

__all__ = [
    "ConcurrentExecutor",
    "DaskExecutor",
    "Executor",
    "Handle",
    "InlineExecutor",
    "JobCancelledError",
    "OtpExecutor",
    "get",
    "publish",
]

_HOMES = {
    "ConcurrentExecutor": "erl.executors.local",
    "DaskExecutor": "erl.executors.dask",
    "Executor": "erl.executors.interface",
    "Handle": "erl.executors.interface",
    "InlineExecutor": "erl.executors.local",
    "JobCancelledError": "erl.errors",
    "OtpExecutor": "erl.executors.otp",
    "get": "erl.executors.calls",
    "publish": "erl.executors.calls",
}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "devices":
        return importlib.import_module("erl.executors.devices")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
