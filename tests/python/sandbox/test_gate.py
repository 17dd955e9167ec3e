"""The two programs of sandboxes: the limits that are set before anything else, and what an interpreter is made of."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "python" / "erl"
SECONDS = 30

LIMITS = """\
import resource as r
print([r.getrlimit(x) for x in (r.RLIMIT_DATA, r.RLIMIT_CPU, r.RLIMIT_CORE, r.RLIMIT_NOFILE)])
"""


def gate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(PACKAGE / "sandbox" / "gate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_the_limits_are_hard_ones_when_the_program_runs() -> None:
    done = gate("-", "300000000", "7", "-", sys.executable, "-c", LIMITS)
    assert done.stdout.strip() == "[(300000000, 300000000), (7, 8), (0, 0), (1024, 1024)]"


def test_what_is_not_given_is_not_limited() -> None:
    done = gate("-", "-", "-", "-", sys.executable, "-c", LIMITS)
    # The run of the tests may have limits of its own.
    ours = [resource.getrlimit(what) for what in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)]
    assert done.stdout.startswith(f"[{ours[0]}, {ours[1]}, (0, 0), ")


def test_the_program_gets_its_arguments() -> None:
    done = gate("-", "-", "-", "-", sys.executable, "-c", "import sys; print(sys.argv)", "a b", "")
    assert done.stdout.strip() == "['-c', 'a b', '']"


def test_the_kernel_takes_it_first() -> None:
    done = gate("-", "-", "-", "-", sys.executable, "-c", "print(open('/proc/self/oom_score_adj').read())")
    assert done.stdout.strip() == "1000"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_root_becomes_somebody_who_can_not_go_back() -> None:
    code = (
        "import os\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "try: os.setuid(0)\n"
        "except PermissionError: print('stays')"
    )
    program = "/usr/bin/python3"
    if not os.access(program, os.X_OK):
        pytest.skip("no interpreter that others may run")
    done = gate("1900000000", "-", "-", "-", program, "-c", code)
    ids = "(1900000000, 1900000000, 1900000000)"
    assert done.stdout.splitlines() == [f"{ids} {ids} []", "stays"]


def footprint(*options: str, **environment: str) -> tuple[str, list[str]]:
    command = [sys.executable, *options, str(PACKAGE / "sandbox" / "footprint.py")]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True, env=environment)
    name, *paths = done.stdout.decode().split("\0")
    assert paths.pop() == ""
    return name, paths


def covers(paths: list[str], path: str) -> bool:
    return any(path == outer or path.startswith(outer + "/") for outer in paths)


def test_the_footprint_names_the_interpreter_and_all_that_it_imports() -> None:
    name, paths = footprint()
    assert name == sys.executable
    for needed in (sys.executable, os.path.realpath(sys.executable), os.__file__, pytest.__file__):
        assert covers(paths, needed), needed


def test_the_footprint_is_no_more_than_that() -> None:
    _, paths = footprint()
    for secret in ("/", "/etc", "/etc/passwd", "/home", "/root", "/usr", "/var", str(PACKAGE.parents[1])):
        assert secret not in paths
    assert all(os.path.isabs(path) and os.path.exists(path) for path in paths)
    assert str(PACKAGE) not in paths


def test_directories_of_the_path_are_in_it(tmp_path: Path) -> None:
    _, paths = footprint(PYTHONPATH=f"{tmp_path}:{tmp_path}/missing")
    assert str(tmp_path) in paths
    assert f"{tmp_path}/missing" not in paths
