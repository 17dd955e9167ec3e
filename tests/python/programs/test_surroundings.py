"""Programs in surroundings that are not as usual: they start a node, and say the same; or one sentence says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import sys
import erl
from erl.futures import PoolExecutor

def mine(number):
    return number + 1

def main():
    with erl.start({"default": {"size": 1}}) as node, PoolExecutor() as executor:
        said = executor.submit(mine, 1).result(60), len(executor.submit(bytes, bytearray(100_000)).result(60))
        with open(sys.argv[1], "w") as file:
            print(*said, type(executor.submit(int, "x").exception(60)).__name__, node.socket, file=file)

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path / "program.py"


def said(program: Path, *flags: str, shell: str = "", **environment: str | None) -> list[str]:
    """What the program says, in a shell that has done something before."""
    into = program.parent / "said"
    own = {**os.environ, **environment}
    command = f'{shell}\nexec "$@"' if shell else 'exec "$@"'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, *flags, str(program), str(into)],
        capture_output=True,
        timeout=120,
        env={name: value for name, value in own.items() if value is not None},
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return into.read_text().split()


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (("-I", "-X", "dev", "-W", "error", "-bb"), {}),
        (("-OO",), {"PYTHONSAFEPATH": "1", "LC_ALL": "C", "HOME": None, "XDG_RUNTIME_DIR": "not/absolute"}),
        (
            (),
            {
                "HOME": "/nowhere",
                "XDG_RUNTIME_DIR": "/nowhere/at/all",
                "ERL_FLAGS": "-sname no -bad",
                "ERL_LIBS": "/tmp",
            },
        ),
    ],
)
def test_flags_and_variables_make_no_difference(
    program: Path, flags: tuple[str, ...], environment: dict[str, Any]
) -> None:
    assert said(program, *flags, **environment)[:3] == ["2", "100000", "ValueError"]


@pytest.mark.parametrize(
    "shell",
    [
        "exec <&- >&- 2>&-",
        "ulimit -n 64; umask 077",
        "mkdir gone && cd gone && rmdir ../gone",
        'exec 3<&0 4>&1; export TEA=$(printf "\\377")',
    ],
)
def test_what_a_shell_has_done_makes_no_difference(program: Path, shell: str) -> None:
    assert said(program, shell=f"cd {program.parent}; {shell}")[:3] == ["2", "100000", "ValueError"]


def test_a_runtime_directory_that_is_long_or_of_another_user_is_not_used(
    program: Path, tmp_path: Path
) -> None:
    long = tmp_path / ("l" * 120)
    long.mkdir(0o700)
    assert said(program, XDG_RUNTIME_DIR=str(long), TMPDIR=str(long))[3].startswith(
        f"/tmp/erl-py-{os.geteuid()}/"
    )
    if os.geteuid() == 0:
        others = tmp_path / "others"
        others.mkdir(0o700)
        os.chown(others, 65534, -1)
        assert said(program, XDG_RUNTIME_DIR=str(others))[3].startswith("/tmp/erl-py-0/")
        assert os.listdir(others) == []


def test_a_program_in_a_zip_and_one_from_standard_input(program: Path, tmp_path: Path) -> None:
    import zipfile

    archive = tmp_path / "program.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(program, "__main__.py")
    assert said(archive)[:3] == ["2", "100000", "ValueError"]
    into = tmp_path / "said"
    with open(program) as source:
        subprocess.run([sys.executable, "-", str(into)], stdin=source, check=True, timeout=120)
    assert into.read_text().startswith("2 100000 ValueError")


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("sys.executable = ''", "", "this program does not know its interpreter"),
        ("", "not a program", "erl can't be run (Exec format error): install Erlang/OTP 25"),
        ("", "#!/bin/sh\nexit 0\n", "erl does not run: install Erlang/OTP 25"),
        ("", "#!/bin/sh\necho 20 yes\n", "is Erlang/OTP 20: install Erlang/OTP 25"),
    ],
)
def test_a_start_that_can_not_be_says_why(tmp_path: Path, before: str, after: str, why: str) -> None:
    if after:
        (tmp_path / "erl").write_text(after)
        (tmp_path / "erl").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, erl\n{before}\nerl.start({{'default': {{'size': 1}}}})"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    assert done.returncode == 1
    assert why in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("streams", ["<&- >&- 2>&-", "<&-"])
def test_a_submitted_script_may_have_no_streams(program: Path, streams: str) -> None:
    program.write_text("import erl, sys\nif erl.here().func(abs, -1) == 1:\n    sys.exit(9)\n")
    command = f'"$@" {streams}; exit $?'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-m", "erl", "submit", "python", str(program)],
        timeout=120,
    )
    assert done.returncode == 9
