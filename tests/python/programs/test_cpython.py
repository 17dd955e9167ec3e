"""CPython's own tests of executors, which are no part of this repository: `make test-peers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "peers" / "run"
NO_TESTS = 3
SECONDS = 240


def test_what_differs_from_cpythons_executors_is_named() -> None:
    run = subprocess.run(
        [sys.executable, str(RUN)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    if run.returncode == NO_TESTS:
        pytest.skip(f"no tests of CPython's here: {run.stdout.strip()}")
    assert run.returncode == 0, run.stdout[-4000:]
    passed = int(run.stdout.splitlines()[-1].split(" tests: ")[1].split()[0])
    assert passed >= 41
