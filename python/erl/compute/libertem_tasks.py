"""LiberTEM's tasks in a worker of a pool: what they are called through, and what warms a worker up."""

from __future__ import annotations

import contextlib
import functools
import os

from erl.executors.calls import publish

TYPE_CHECKING = False  # as `typing` has it
if TYPE_CHECKING:
    from typing import Any


class WorkerContext:
    """What a task sends messages by. As LiberTEM's class of this name."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def get_worker_queue(self) -> Any:
        """A stream of data to a task: only LiberTEM's executors for live data have one."""
        raise NotImplementedError(
            "tasks of a pool get their data from files: there is no queue for live data"
        )

    def signal(self, ident: str, topic: str, msg_dict: dict[str, Any]) -> None:
        """Send a message to the driver's handlers of this topic."""
        if "ident" in msg_dict:
            raise ValueError("ident is a reserved name")
        publish(self._topic, (topic, {**msg_dict, "ident": ident}))


def run_task(task: Any, params: Any, topic: str, span: Any, is_threaded: bool) -> Any:
    """The result of one of LiberTEM's tasks, as a child of the span that it was sent in."""
    from libertem.common.backend import get_use_cuda
    from libertem.common.executor import Environment
    from libertem.common.tracing import attach_to_parent

    prepare()
    env = Environment(
        threads_per_worker=1,
        threaded_executor=is_threaded,
        worker_context=WorkerContext(topic),  # type: ignore[arg-type,unused-ignore]
        gpu_id=get_use_cuda(),
    )
    with contextlib.nullcontext() if span is None else attach_to_parent(span):
        return task(env=env, params=params)


@functools.cache
def prepare() -> None:
    """What LiberTEM has its own workers load, and where its spans go; once for each worker."""
    import libertem.preload  # noqa: F401
    from libertem.common.tracing import maybe_setup_tracing

    import erl.compute.libertem_numba  # noqa: F401

    maybe_setup_tracing(service_name="erl-pool", service_id=str(os.getpid()))


def warm_up(dataset: Any) -> float:
    """Load LiberTEM, and compile what sums frames and applies masks, by a frame of the data set, or of zeros.

    How many seconds that took.
    """
    import time

    before = time.monotonic()
    prepare()
    import numpy
    from libertem.api import Context
    from libertem.executor.inline import InlineJobExecutor
    from libertem.udf.masks import ApplyMasksUDF
    from libertem.udf.sum import SumUDF

    context = Context(executor=InlineJobExecutor(inline_threads=1))
    if dataset is None:
        data: Any = numpy.zeros((2, 2, 8, 8), numpy.float32)
        dataset = context.load("memory", data=data, num_partitions=1)
    frame = numpy.zeros(tuple(dataset.shape.nav), dtype=bool)
    frame.flat[0] = True
    ones = functools.partial(numpy.ones, tuple(dataset.shape.sig))
    context.run_udf(dataset, [SumUDF(), ApplyMasksUDF([ones])], roi=frame)
    return time.monotonic() - before
