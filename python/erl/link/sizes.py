"""How many workers this process may keep busy: what it may run on, and what its control group gives it."""

from __future__ import annotations

import os
import sys


def processors() -> int:
    """At least 1: the processors that this process may run on, or fewer where its control group gives less time."""
    counted = getattr(os, "process_cpu_count", None)
    if counted is not None:
        count = counted() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _quota()
    return max(1, count if quota is None else min(count, -(-quota[0] // quota[1])))


def _quota() -> tuple[int, int] | None:
    """Microseconds of processor time, and of the period that they are for."""
    if sys.platform != "linux":
        return None
    for path in _groups():
        try:
            with open(f"{path}/cpu.max", encoding="ascii") as file:
                used, _, period = file.read().partition(" ")
            if used != "max":
                return int(used), int(period)
            continue
        except (OSError, ValueError):
            pass
        try:
            with open(f"{path}/cpu.cfs_quota_us", encoding="ascii") as file:
                quota = int(file.read())
            with open(f"{path}/cpu.cfs_period_us", encoding="ascii") as file:
                if quota > 0:
                    return quota, int(file.read())
        except (OSError, ValueError):
            continue
    return None


def _groups() -> list[str]:
    """Where the limits of this process's control group may be, its own first."""
    found = []
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if not controllers:
                    while path not in ("/", ""):
                        found.append(f"/sys/fs/cgroup{path}")
                        path = path.rpartition("/")[0]
                elif "cpu" in controllers.split(","):
                    found.append(f"/sys/fs/cgroup/{controllers}{path}")
    except (OSError, ValueError):
        pass
    return [*found, "/sys/fs/cgroup", "/sys/fs/cgroup/cpu"]
