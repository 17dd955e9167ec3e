"""Executors of jobs, all with one interface: in this process, over any of `concurrent.futures`, over a pool of a node,
over a cluster of dask's.

In a task: `get(key)` is what `put` has left in this worker, `publish(topic, message)` reaches who has subscribed.
A worker imports `erl.executors.calls` alone, so the rest is imported where it is used.
"""

from __future__ import annotations

from erl.names import lazily

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
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
    "devices": "erl.executors.devices",
    "get": "erl.executors.calls",
    "publish": "erl.executors.calls",
}

__getattr__ = lazily.imported(__name__, _HOMES)
