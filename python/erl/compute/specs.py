"""Which executor a word stands for, and which workers it can have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from erl.errors import ExecutorSpecException

if TYPE_CHECKING:
    from collections.abc import Callable

    from erl.executors import Executor

INLINE: Final = ("inline", "synchronous")
KNOWN: Final = (*INLINE, "threads", "pool", "dask")


def factory_of(spec: str, cpus: Any = None, gpus: Any = None) -> Callable[[], Executor]:
    """What makes the executor. Raises `ExecutorSpecException` for what there is not."""
    if spec not in KNOWN:
        raise ExecutorSpecException(
            f"Executor type {spec} is not known: there are {', '.join(KNOWN)}"
            + ("; those of LiberTEM's are in erl.compute.libertem" if spec in _LIBERTEMS else "")
        )
    if cpus is not None and spec in INLINE:
        raise ExecutorSpecException(
            f"Executor type {spec} does not support specifying CPU workers at this time"
        )
    if gpus is not None and spec in (*INLINE, "threads"):
        raise ExecutorSpecException(
            f"Executor type {spec} does not support specifying GPU workers at this time"
        )
    count = _count(cpus, "cpus", 1)
    wanted = _count(gpus, "gpus", 0)
    if wanted and not _detected()["cudas"]:
        raise ExecutorSpecException("Cannot specify GPU workers as no GPUs detected")
    if spec in INLINE:
        return _inline
    if spec == "threads":
        return lambda: _threads(count)
    if spec == "pool":
        if wanted:
            raise ExecutorSpecException(
                "Executor type pool does not support specifying GPU workers at this time: a Context computes with "
                "numpy; erl.compute.libertem has workers with GPUs"
            )
        return lambda: _pool(count)
    return lambda: _dask(cpus, gpus)


_LIBERTEMS: Final = ("dask-integration", "dask-make-default", "delayed", "pipelined")


def _count(given: Any, name: str, least: int) -> int | None:
    """How many workers a number or some ids stand for."""
    if given is None:
        return None
    if hasattr(given, "__index__") and not isinstance(given, bool):
        count = int(given)
    else:
        try:
            count = len(list(given))
        except TypeError:
            count = -1
        if isinstance(given, (str, bytes)):
            count = -1
    if count < least:
        raise ExecutorSpecException(
            f"{name} is a number of workers, at least {least}, or their ids: not {given!r}"
        )
    return count


def _detected() -> dict[str, Any]:
    from erl.executors.devices import detect

    return {**detect()}


def _inline() -> Executor:
    from erl.executors import InlineExecutor

    return InlineExecutor()


def _threads(count: int | None) -> Executor:
    from erl.executors import ConcurrentExecutor

    return ConcurrentExecutor.make_local(count)


def _pool(count: int | None) -> Executor:
    from erl.executors import OtpExecutor

    return OtpExecutor(workers=count)


def _dask(cpus: Any, gpus: Any) -> Executor:
    from erl.executors.dask import DaskExecutor

    if cpus is None and gpus is None:
        return DaskExecutor.make_local()
    from erl.executors.devices import cluster_spec

    devices = _detected()
    given = {name: each for name, each in (("cpus", cpus), ("cudas", gpus)) if each is not None}
    return DaskExecutor.make_local(spec=cluster_spec(**{**devices, **given}))
