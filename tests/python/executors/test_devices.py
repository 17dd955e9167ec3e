"""What the machine computes with: told by the kernel, by `nvidia-smi`, and by processes that try."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from erl.executors import devices
from erl.link.sizes import processors

if TYPE_CHECKING:
    from pathlib import Path

LIST = "GPU 0: NVIDIA A100 (UUID: GPU-aa11-1)\nGPU 1: NVIDIA A100 (UUID: GPU-bb22-2)\n"
TABLE = "0, GPU-aa11-1\n1, GPU-bb22-2\n2, GPU-bb33-3\n"


class Machine:
    """One whose `nvidia-smi` and cupy are as a test wants them."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.syspath_prepend(str(directory))
        self.nvidia("exit 9")

    def nvidia(self, script: str) -> None:
        program = self.directory / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def table(self, text: str) -> None:
        self.nvidia(f"cat <<'END'\n{text}END")

    def cupy(self, text: str) -> None:
        (self.directory / "cupy.py").write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_without_gpus_there_are_cores_alone(machine: Machine) -> None:
    found = devices.detect()
    assert found["cpus"] == list(range(len(found["cpus"])))
    assert 1 <= len(found["cpus"]) <= processors()
    assert found["cudas"] == []
    assert set(found) == {"cpus", "cudas", "has_cupy"}


def test_threads_of_a_core_are_one(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    monkeypatch.setattr(devices, "processors", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(devices, "_siblings", lambda processor: f"{processor % 2},{processor % 2 + 2}")
    assert devices.detect()["cpus"] == [0, 1]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3})
    assert devices.detect()["cpus"] == [0]
    monkeypatch.setattr(devices, "_siblings", lambda _: "")
    assert devices.detect()["cpus"] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, [0, 1, 2]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("none", []),
        ("1", [1]),
        ("2,0", [2, 0]),
        ("0, 1", [0, 1]),
        ("0,7,1", [0]),  # as CUDA does: up to the first that is none
        ("0,0", [0]),
        ("GPU-aa", [0]),
        ("GPU-bb22-2,GPU-aa11", [1, 0]),
        ("GPU-bb", []),  # the beginning of two
    ],
)
def test_what_is_visible_of_the_gpus(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, visible: str | None, found: list[int]
) -> None:
    machine.table(TABLE)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.detect()["cudas"] == found


def test_an_nvidia_smi_that_only_lists_will_do(machine: Machine) -> None:
    machine.nvidia(f"[ \"$1\" = -L ] || exit 6\ncat <<'END'\n{LIST}END")
    assert devices.detect()["cudas"] == [0, 1]


@pytest.mark.parametrize("said", ["No devices were found\n", "", "NVIDIA-SMI has failed\n", "\u00e4 1\n"])
def test_an_nvidia_smi_that_has_none_means_none(machine: Machine, said: str) -> None:
    machine.table(said)
    assert devices.detect()["cudas"] == []


def test_what_hangs_is_ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_NVIDIA_SECONDS", 0.3)
    monkeypatch.setattr(devices, "_CUPY_SECONDS", 0.3)
    machine.nvidia("sleep 600")
    machine.cupy("import time\ntime.sleep(600)\n")
    before = time.monotonic()
    found = devices.detect()
    assert (found["cudas"], found["has_cupy"]) == ([], False)
    assert time.monotonic() - before < 300


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("cuda = 1\ndef zeros(shape): return [0]\ndef array(value): return value\n", True),
        ("raise ImportError('libcuda.so.1')\n", False),
        ("cuda = 1\ndef zeros(shape): raise RuntimeError('no device')\n", False),
        ("import os\nos.abort()\n", False),
    ],
)
def test_cupy_is_tried_elsewhere(machine: Machine, text: str, works: bool) -> None:
    machine.cupy(text)
    assert devices.detect()["has_cupy"] is works
    assert "cupy" not in sys.modules


def test_detecting_loads_neither_numba_nor_cupy(machine: Machine) -> None:
    machine.cupy("cuda = 1\n")
    (machine.directory / "numba.py").write_text("raise SystemExit('numba was imported')\n")
    program = (
        "import sys; from erl.executors import devices; devices.detect(); devices.cluster_spec(1, 1, True); "
        "print(sorted({'numba', 'cupy', 'numpy', 'distributed'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(machine.directory), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "[]\n"


def resources(spec: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    return {name: worker["options"]["resources"] for name, worker in spec.items()}


def test_the_workers_of_a_cluster() -> None:
    assert resources(devices.cluster_spec([0, 5], [1], True)) == {
        "default-cpu-0": {"CPU": 1, "compute": 1, "ndarray": 1},
        "default-cpu-5": {"CPU": 1, "compute": 1, "ndarray": 1},
        "default-service-0": {},
        "default-cuda-1": {"CUDA": 1, "compute": 1, "ndarray": 1},
    }
    assert resources(devices.cluster_spec(range(1), [0, 0, 1, 0], False, name="mine", num_service=2)) == {
        "mine-cpu-0": {"CPU": 1, "compute": 1, "ndarray": 1},
        "mine-service-0": {},
        "mine-service-1": {},
        "mine-cuda-0": {"CUDA": 1, "compute": 1},
        "mine-cuda-0-0": {"CUDA": 1, "compute": 1},
        "mine-cuda-1": {"CUDA": 1, "compute": 1},
        "mine-cuda-0-1": {"CUDA": 1, "compute": 1},
    }
    assert set(devices.cluster_spec(cpus=2, cudas=1, has_cupy=False, num_service=0)) == {
        "default-cpu-0",
        "default-cpu-1",
        "default-cuda-0",
    }
    cuda = devices.cluster_spec(0, [3], False)["default-cuda-3"]["options"]
    assert cuda["nthreads"] == 1
    assert cuda["env"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert cuda["env"]["NUMBA_NUM_THREADS"] == "1"


def test_a_pool_for_each_kind_of_device() -> None:
    assert devices.pools([0, 1], [0, 3, 3], name="lab") == {
        "lab_cpu": {"size": 2},
        "lab_cuda_0": {"size": 1, "env": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0"}},
        "lab_cuda_3": {"size": 2, "env": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "3"}},
    }
    assert devices.pools(0, [1]).keys() == {"default_cuda_1"}


@pytest.mark.parametrize("cpus", [-1, True, "two", None])
def test_what_is_no_devices_is_refused(cpus: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        devices.cluster_spec(cpus, [], False)
    with pytest.raises((TypeError, ValueError)):
        devices.cluster_spec(1, cpus, False)
    with pytest.raises(ValueError, match="num_service"):
        devices.cluster_spec(1, [], False, num_service=-1)
