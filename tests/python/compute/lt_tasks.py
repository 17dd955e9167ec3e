"""Tasks as LiberTEM's executors take them. A worker imports this, so nothing of LiberTEM's, which takes seconds."""

from __future__ import annotations

import os
import signal
import time
from typing import Any


class Task:
    """What `run_tasks` takes."""

    def __init__(self, value: Any = None, seconds: float = 0, resources: Any = None) -> None:
        self.value = value
        self._seconds = seconds
        self._resources = resources or {}

    def __call__(self, params: Any, env: Any) -> Any:
        time.sleep(self._seconds)
        return self.result(params, env)

    def result(self, params: Any, env: Any) -> Any:
        return self.value, params

    def get_resources(self) -> dict[str, int]:
        return dict(self._resources)

    def get_locations(self) -> None:
        return None


class Parameters:
    def __init__(self, value: str) -> None:
        self.value = value

    def patch(self, value: str) -> None:
        self.value = value


class Value(Task):
    def result(self, params: Any, env: Any) -> Any:
        return params.value


class Dies(Task):
    def result(self, params: Any, env: Any) -> Any:
        if not os.path.exists(self.value):
            with open(self.value, "w"):
                os.kill(os.getpid(), signal.SIGKILL)
        return "lived"


class Signals(Task):
    def result(self, params: Any, env: Any) -> Any:
        env.worker_context.signal("me", "news", {"number": self.value})
        return env.threads_per_worker, env.threaded_executor, env.gpu_id


class Traced(Task):
    def result(self, params: Any, env: Any) -> Any:
        from opentelemetry import trace

        return trace.get_current_span().get_span_context().trace_id


class Where(Task):
    def result(self, params: Any, env: Any) -> Any:
        return env.gpu_id, os.environ.get("CUDA_VISIBLE_DEVICES")


def threads() -> tuple[int, str | None]:
    import numba

    return numba.get_num_threads(), os.environ.get("NUMBA_CACHE_DIR")
