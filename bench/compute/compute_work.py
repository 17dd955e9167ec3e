"""What tasks of bench/compute do: a module of its own, since what is in a program's main module goes by value."""

from __future__ import annotations

import time
from typing import Any


class Task:
    """What `run_tasks` takes: it sleeps, or does nothing at all."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds

    def __call__(self, params: Any, env: Any) -> None:
        if self.seconds:
            time.sleep(self.seconds)

    def get_resources(self) -> dict[str, int]:
        return {"CPU": 1, "compute": 1}

    def get_locations(self) -> None:
        return None
