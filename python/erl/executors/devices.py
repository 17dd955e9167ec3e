"""What this machine computes with, and how workers share it: found without loading what uses it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from erl.link.sizes import processors

if TYPE_CHECKING:
    from collections.abc import Iterable


class Devices(TypedDict):
    """What `detect` finds: the keywords of `cluster_spec`."""

    cpus: list[int]
    cudas: list[int]
    has_cupy: bool


_NVIDIA_SECONDS: Final = 20.0
_CUPY_SECONDS: Final = 120.0
"""Its first import on a machine compiles."""

_PROBE: Final = "import cupy; cupy.cuda; cupy.array(cupy.zeros((1,)))"
_CORES: Final = "/sys/devices/system/cpu/cpu{}/topology/{}"
_SIBLINGS: Final = ("core_cpus_list", "thread_siblings_list")

_GPU: Final = re.compile(r"\s*(?:GPU\s+)?(\d+)\s*(?:[,:]|$)")
_UUID: Final = re.compile(r"GPU-[0-9a-fA-F-]+")

THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
"""Of the libraries of numbers, in a worker: one, since there are as many workers as there are cores."""


def detect() -> Devices:
    """The devices that this process may use: `cpus`, `cudas` (numbers) and `has_cupy`.

    A cpu is a physical core. A GPU has the number that `nvidia-smi` gives it; `CUDA_VISIBLE_DEVICES` hides the others.
    Neither numba nor cupy is imported here: whether cupy works, a process of its own tries.
    """
    return {"cpus": list(range(_cores())), "cudas": _cudas(), "has_cupy": _has_cupy()}


def cluster_spec(
    cpus: int | Iterable[int],
    cudas: int | Iterable[int],
    has_cupy: bool,
    name: str = "default",
    num_service: int = 1,
) -> dict[str, dict[str, Any]]:
    """The workers of a `distributed.SpecCluster`, by their names; for `DaskExecutor.make_local(spec=...)`.

    `cpus`, `cudas`  numbers of cores and GPUs, or how many; cores are not pinned, a GPU named twice has two workers
    `has_cupy`       whether workers with a GPU take tasks for arrays
    `name`           what the workers' names begin with
    `num_service`    so many more workers that compute nothing, and so answer at once
    """
    if type(num_service) is not int or num_service < 0:
        raise ValueError(f"num_service must be an integer, at least 0, not {num_service!r}")
    spec: dict[str, dict[str, Any]] = {}
    for cpu in _numbers("cpus", cpus):
        spec[f"{name}-cpu-{cpu}"] = _worker({"CPU": 1, "compute": 1, "ndarray": 1})
    for service in range(num_service):
        spec[f"{name}-service-{service}"] = _worker({})
    resources = {"CUDA": 1, "compute": 1, **({"ndarray": 1} if has_cupy else {})}
    for cuda, worker in _named(f"{name}-cuda", _numbers("cudas", cudas)):
        spec[worker] = _worker(resources, visible(cuda))
    return spec


def pools(
    cpus: int | Iterable[int], cudas: int | Iterable[int] = (), name: str = "default"
) -> dict[str, dict[str, Any]]:
    """One pool for each kind of device, for `erl.start`: `{name}_cpu`, and `{name}_cuda_0` for the GPU 0.

    A pool of a GPU sees that one alone; where it is named twice, two workers share it. Without cpus there is no
    `{name}_cpu`.
    """
    made: dict[str, dict[str, Any]] = {}
    count = len(_numbers("cpus", cpus))
    if count:
        made[f"{name}_cpu"] = {"size": count}
    for cuda in _numbers("cudas", cudas):
        pool = made.setdefault(f"{name}_cuda_{cuda}", {"size": 0, "env": visible(cuda)})
        pool["size"] += 1
    return made


def visible(cuda: int) -> dict[str, str]:
    """The environment of a worker that uses this GPU: it sees no other one."""
    # CUDA counts the fastest first, nvidia-smi by the bus.
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": str(cuda)}


def _worker(resources: dict[str, int], env: dict[str, str] | None = None) -> dict[str, Any]:
    threads = dict.fromkeys(THREADS, "1")
    options = {
        "nthreads": 1,
        "resources": dict(resources),
        "env": {**threads, **(env or {})},
        "silence_logs": logging.WARNING,
    }
    return {"cls": "distributed.Nanny", "options": options}


def _named(prefix: str, numbers: list[int]) -> list[tuple[int, str]]:
    """A name for each; what comes again is numbered from 0, as LiberTEM does."""
    found: list[tuple[int, str]] = []
    for index, number in enumerate(numbers):
        again = numbers[:index].count(number)
        found.append((number, f"{prefix}-{number}" + (f"-{again - 1}" if again else "")))
    return found


def _numbers(what: str, given: int | Iterable[int]) -> list[int]:
    if isinstance(given, int) and not isinstance(given, bool):
        if given < 0:
            raise ValueError(f"{what} must be at least 0, not {given}")
        return list(range(given))
    if isinstance(given, (bool, str, bytes)):
        raise TypeError(f"{what} must be a number or numbers of devices, not {given!r}")
    return [int(each) for each in given]


# Cores


def _cores() -> int:
    """Physical cores of those that this process may run on; no more than its control group gives it."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    cores = {_siblings(each) for each in allowed}
    count = len(cores) if cores and "" not in cores else _counted()
    return max(1, min(count, processors()))


def _siblings(processor: int) -> str:
    """The processors of the same core, as the kernel writes them; empty where it does not say."""
    for name in _SIBLINGS:
        try:
            return Path(_CORES.format(processor, name)).read_text(encoding="ascii").strip()
        except OSError:
            continue
    return ""


def _counted() -> int:
    """As macOS counts them; elsewhere each processor is a core."""
    if sys.platform == "darwin":
        told = _told(["sysctl", "-n", "hw.physicalcpu"], _NVIDIA_SECONDS)
        if told is not None and told.strip().isdecimal():
            return int(told)
    return processors()


# GPUs


def _cudas() -> list[int]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None and not chosen.strip():
        return []
    found = _gpus()
    if chosen is None:
        return [number for number, _ in found]
    return _visible_of(found, [each.strip() for each in chosen.split(",")])


def _visible_of(found: list[tuple[int, str]], chosen: list[str]) -> list[int]:
    """As CUDA reads it: up to the first that is none, by number or by the beginning of its identifier."""
    visible_ones: list[int] = []
    for each in chosen:
        named = [
            number
            for number, identifier in found
            if (each.isdecimal() and int(each) == number)
            or (each.startswith("GPU-") and identifier.startswith(each))
        ]
        if len(named) != 1 or named[0] in visible_ones:
            break
        visible_ones += named
    return visible_ones


def _gpus() -> list[tuple[int, str]]:
    """The machine's GPUs: the number of each, and its identifier."""
    for command in (["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"], ["nvidia-smi", "-L"]):
        told = _told(command, _NVIDIA_SECONDS)
        if told is None:
            continue
        found: dict[int, str] = {}
        for line in told.splitlines():
            if number := _GPU.match(line):
                identifier = _UUID.search(line)
                found[int(number[1])] = identifier[0] if identifier else ""
        if found:
            return sorted(found.items())
    return []


def _has_cupy() -> bool:
    """Whether cupy is installed, and makes an array. A broken one may end its process, or hang."""
    try:
        if find_spec("cupy") is None:
            return False
    except (ImportError, ValueError):
        return False
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    env = {**os.environ, "PYTHONPATH": path}
    return _told([sys.executable, "-c", _PROBE], _CUPY_SECONDS, env) is not None


def _told(command: list[str], seconds: float, env: dict[str, str] | None = None) -> str | None:
    """What a command prints; None where there is none, or it fails, or takes too long."""
    try:
        running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        out, _ = running.communicate(timeout=seconds)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise
    return out.decode(errors="replace") if running.returncode == 0 else None
