"""DigitalHub's names as the first import of a program: ours where there is no other one, whose else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import erl
from erl.names import facades

HOME = str(Path(erl.__file__).parent.parent)
NAMES = ("digitalhub", "digitalhub_runtime_python")


def said(program: str, *path: Path | str, cwd: Path) -> str:
    """What a Python prints that runs this, with these directories on its path, which have erl in none or last."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_ours_is_the_first_import_of_a_program(name: str, tmp_path: Path) -> None:
    program = f"import {name} as dh, sys; print(dh.__file__, dh is sys.modules[{name!r}], dh.__name__)"
    ours = f"{facades._FACADES}{name}/__init__.py"
    assert said(program, HOME, cwd=tmp_path) == f"{ours} True {name}"


def test_what_programs_import_from_them_is_there(tmp_path: Path) -> None:
    program = (
        "from digitalhub_runtime_python import handler; import digitalhub as dh; import erl.functions as own; "
        "print(handler is own.handler, dh.new_function is own.new_function, sorted(dir(dh)) == sorted(dir(own)))"
    )
    assert said(program, HOME, cwd=tmp_path) == "True True True"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "behind"])
def test_real_package_wins_wherever_it_is(name: str, is_before: bool, tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / name).mkdir(parents=True)
    (real / name / "__init__.py").write_text("from . import part\n")
    (real / name / "part.py").write_text("is_real = True\n")
    path = [real, HOME] if is_before else [HOME, real]
    program = f"import {name}.part; print({name}.part.is_real, {name}.__file__)"
    assert said(program, *path, cwd=tmp_path) == f"True {real}/{name}/__init__.py"


@pytest.mark.parametrize("name", NAMES)
def test_real_package_beside_erl_wins(name: str, tmp_path: Path) -> None:
    """Both were installed in one directory: neither has overwritten the other."""
    (tmp_path / "erl").symlink_to(Path(HOME, "erl"))
    (tmp_path / f"{name}.py").write_bytes(Path(HOME, f"{name}.py").read_bytes())
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    assert (
        said(f"import {name}; print({name}.__file__)", tmp_path, cwd=tmp_path)
        == f"{tmp_path}/{name}/__init__.py"
    )


@pytest.mark.parametrize("name", NAMES)
def test_two_copies_of_ours_are_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "erl").symlink_to(Path(HOME, "erl"))
    (tmp_path / f"{name}.py").write_bytes(Path(HOME, f"{name}.py").read_bytes())
    path = said(f"import {name}; print({name}.__file__)", tmp_path, HOME, cwd=tmp_path)
    assert path.endswith(f"/erl/facades/{name}/__init__.py")


def test_bare_directory_of_the_name_is_none(tmp_path: Path) -> None:
    (tmp_path / "digitalhub").mkdir()
    path = said("import digitalhub; print(digitalhub.__file__)", HOME, cwd=tmp_path)
    assert path == f"{facades._FACADES}digitalhub/__init__.py"


def test_real_package_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "real" / "digitalhub").mkdir(parents=True)
    (tmp_path / "real" / "digitalhub" / "__init__.py").write_text("1 / 0\n")
    program = (
        "import sys\ntry: import digitalhub\n"
        "except ZeroDivisionError as error: print(error, 'digitalhub' in sys.modules)"
    )
    assert said(program, HOME, tmp_path / "real", cwd=tmp_path) == "division by zero False"


def test_what_is_not_in_it_is_not_found(tmp_path: Path) -> None:
    program = "try: import digitalhub.tea\nexcept ModuleNotFoundError as error: print(error.name)"
    assert said(program, HOME, cwd=tmp_path) == "digitalhub.tea"
