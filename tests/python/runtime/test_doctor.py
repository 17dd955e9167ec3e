"""What `py:doctor()` says of the codec: the command that the interpreter in question gets the compiled one by."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "python"


def advice(package: Path, cc: str) -> str:
    """The line of an interpreter that has the package from there, and this compiler."""
    program = (
        "import sys; sys.modules['erl.codec.native'] = None; from erl.runtime import doctor;"
        " print(doctor._codec())"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=package,
        env={"PYTHONPATH": str(package), "CC": cc, "PATH": "/usr/bin:/bin"},
    )
    return done.stdout


def test_a_dependency_is_told_what_to_install_and_from_where() -> None:
    install = f"{sys.executable} -m pip install {SOURCE}"
    assert install in advice(SOURCE, "/bin/sh")  # any program is a compiler to it
    assert (
        f"install a C compiler and Python's headers (apt-get install gcc libc6-dev python3-dev), then {install}"
        in advice(SOURCE, "no-such-compiler")
    )


def test_a_release_has_no_sources_to_install_from(tmp_path: Path) -> None:
    shutil.copytree(
        SOURCE / "erl", tmp_path / "erl", ignore=shutil.ignore_patterns("__pycache__", "*.so", "otp")
    )
    said = advice(tmp_path, "/bin/sh")
    assert f"install a wheel of erl-bridge, of this version, in {sys.executable}" in said
    assert str(tmp_path) not in said
