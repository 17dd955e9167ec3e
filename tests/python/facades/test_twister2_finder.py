"""The packages of drivers that `import erl` has found last: whose they are, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import erl
from erl.names import facades


def said(program: str, cwd: Path, *arguments: str) -> str:
    """What a Python prints that runs this, as a notebook's does: the working directory is on its path."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_finder_stands_last_and_once(tmp_path: Path) -> None:
    program = (
        "import sys; import erl; from erl.names import facades; facades.append(); import importlib; "
        "importlib.reload(erl); print(sys.meta_path.count(facades.Facades), sys.meta_path[-1].__name__)"
    )
    assert said(program, tmp_path) == "1 Facades"


def test_import_of_the_package_loads_its_finder_alone(tmp_path: Path) -> None:
    program = (
        "import sys; before = set(sys.modules); import erl; "
        "print(*sorted(each for each in set(sys.modules) - before if each != '__future__'))"
    )
    assert said(program, tmp_path) == "erl erl.names erl.names.facades"


def test_real_package_wins(tmp_path: Path) -> None:
    (tmp_path / "twister2").mkdir()
    (tmp_path / "twister2" / "__init__.py").write_text("real = True\n")
    assert said("import erl, twister2; print(twister2.real)", tmp_path) == "True"
    # What it lacks is not filled up with ours.
    program = (
        "import erl\ntry: import twister2.TSetContext\nexcept ModuleNotFoundError as error: print(error.name)"
    )
    assert said(program, tmp_path) == "twister2.TSetContext"


def test_real_module_or_one_in_an_archive_wins(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "real.zip", "w") as opened:
        opened.writestr("twister2/__init__.py", "real = 'archive'\n")
    program = "import sys, erl; sys.path.append('real.zip'); import twister2; print(twister2.real)"
    assert said(program, tmp_path) == "archive"
    (tmp_path / "twister2.py").write_text("real = 'module'\n")
    assert said("import erl, twister2; print(twister2.real)", tmp_path) == "module"


def test_what_the_package_has_not_is_not_found(tmp_path: Path) -> None:
    for name in ("twister2.tea", "twister2.tset.tea", "twister3", "twister2.tset.fn.tea"):
        program = f"import erl\ntry: import {name}\nexcept ModuleNotFoundError as error: print(error.name)"
        assert said(program, tmp_path) == name


def test_before_the_package_is_imported_there_is_none(tmp_path: Path) -> None:
    program = "try: import twister2\nexcept ModuleNotFoundError as error: print(error.name)"
    assert said(program, tmp_path) == "twister2"


def test_log_says_that_it_is_ours(tmp_path: Path) -> None:
    program = (
        "import logging, sys; logging.basicConfig(level='INFO', stream=sys.stdout); import erl, twister2"
    )
    directory = Path(erl.__file__).parent / "facades" / "twister2"
    assert said(program, tmp_path) == f"INFO:erl.dataflow:twister2 is the one of erl: {directory}/__init__.py"


def test_worker_finds_it_too(node: erl.Node) -> None:
    def home() -> str:
        import twister2  # type: ignore[import-not-found]

        return os.path.dirname(twister2.__file__)

    assert node.executor().submit(home).result(60) == os.path.dirname(facades._FACADES) + "/twister2"
