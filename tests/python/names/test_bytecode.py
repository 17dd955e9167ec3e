"""Modules are loaded as their sources are, whatever bytecode lies beside them."""

from __future__ import annotations

import importlib
import linecache
import os
import py_compile
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from erl.calls import objects, pushed
from erl.names import bytecode, traces

PACKAGE = Path(__file__).parents[3] / "python"
LONG_AGO = 1_700_000_000


@pytest.fixture(params=[False, True], ids=["bytecode is written", "bytecode is not written"])
def directory(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A directory to import from; what is loaded from it is forgotten after the test."""
    loader: Any = importlib.machinery.SourceFileLoader
    monkeypatch.setattr(loader, "get_data", loader.get_data)
    monkeypatch.setattr(loader, "set_data", loader.set_data)
    monkeypatch.setattr(sys, "dont_write_bytecode", request.param)
    monkeypatch.syspath_prepend(tmp_path)
    bytecode.guard()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "py_edited"]:
        del sys.modules[name]


def written(path: Path, value: int, at: float = LONG_AGO) -> None:
    """A source of always the same size, and of this time as far as its bytecode can tell."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"VALUE = {value}\ndef failing(): return 1 / 0  # {value}\n")
    os.utime(path, (at, at))


def value(name: str) -> int:
    importlib.invalidate_caches()
    return importlib.import_module(name).VALUE  # type: ignore[no-any-return]


def value_elsewhere(name: str, directory: Path) -> int:
    """What the next interpreter has."""
    program = f"import {name}; print({name}.VALUE)"
    environment = {"PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    return int(subprocess.check_output([sys.executable, "-c", program], env=environment, timeout=60))


@pytest.mark.parametrize("when", [lambda: LONG_AGO, time.time], ids=["settled", "just now"])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("py_edited", "py_edited.py"),
        ("py_edited", "py_edited/__init__.py"),
        ("py_edited.part", "py_edited/part.py"),
    ],
)
def test_an_edit_of_the_same_size_and_second_is_seen(
    directory: Path, name: str, file: str, when: Callable[[], float]
) -> None:
    at = int(when())
    path = directory / file
    if name == "py_edited.part":
        written(path.with_name("__init__.py"), 10, at)
    written(path, 10, at)
    py_compile.compile(str(path))
    assert value(name) == 10
    for number in range(11, 15):
        written(path, number, at)
        assert objects.reload(name)
        assert value(name) == number
        assert value_elsewhere(name, directory) == number


def test_bytecode_of_an_earlier_run_is_not_read_by_a_reload(directory: Path) -> None:
    path = directory / "py_edited.py"
    written(path, 10)
    assert value("py_edited") == 10
    written(path, 11)
    py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    written(path, 12)
    objects.reload("py_edited")
    assert value("py_edited") == 12
    assert value_elsewhere("py_edited", directory) == 12


def test_a_reload_that_can_not_delete_the_bytecode_reads_the_source(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = directory / "py_edited.py"
    written(path, 10)
    py_compile.compile(str(path))
    assert value("py_edited") == 10
    written(path, 11)

    def refused(*_args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "unlink", refused)
    objects.reload("py_edited")
    assert value("py_edited") == 11


def test_an_edit_is_seen_by_the_next_interpreter_though_nothing_was_reloaded(tmp_path: Path) -> None:
    path = tmp_path / "py_edited.py"
    program = "from erl.names import bytecode; bytecode.guard(); import py_edited; print(py_edited.VALUE)"
    for number in range(10, 14):
        written(path, number, int(time.time()))
        found = subprocess.check_output(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": f"{PACKAGE}:{tmp_path}"},
            timeout=60,
        )
        assert int(found) == number


def test_bytecode_of_a_source_that_has_settled_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "py_edited.py"
    written(path, 10)
    program = "from erl.names import bytecode; bytecode.guard(); import py_edited"
    subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": f"{PACKAGE}:{tmp_path}"}, timeout=60, check=True
    )
    assert len(list((tmp_path / "__pycache__").iterdir())) == 1


def test_what_a_module_reads_of_its_own_directory_stays(directory: Path) -> None:
    (directory / "py_edited").mkdir()
    (directory / "py_edited" / "data.pyc").write_bytes(b"tea")
    source = "import pkgutil\nVALUE = pkgutil.get_data(__name__, 'data.pyc')\n"
    (directory / "py_edited" / "__init__.py").write_text(source)
    importlib.invalidate_caches()
    importlib.import_module("py_edited")
    objects.reload("py_edited")
    assert sys.modules["py_edited"].VALUE == b"tea"  # type: ignore[attr-defined]
    assert (directory / "py_edited" / "data.pyc").exists()


def test_a_traceback_shows_the_lines_after_the_edit(directory: Path) -> None:
    path = directory / "py_edited.py"
    for number in (10, 11):
        written(path, number)
        if not objects.reload("py_edited"):
            value("py_edited")
        with pytest.raises(ZeroDivisionError) as failure:
            sys.modules["py_edited"].failing()  # type: ignore[attr-defined]
        trace: Any = traces.trace_of(failure.value)
        assert trace[0][3].endswith(f"# {number}")
    assert str(path) in linecache.cache


def test_a_module_that_fails_to_load_keeps_what_it_had(directory: Path) -> None:
    path = directory / "py_edited.py"
    written(path, 10)
    assert value("py_edited") == 10
    path.write_text("VALUE = ]")
    with pytest.raises(SyntaxError):
        objects.reload("py_edited")
    assert sys.modules["py_edited"].VALUE == 10  # type: ignore[attr-defined]
    assert not bytecode._from_source


def test_a_pushed_package_is_loaded_from_its_sources(directory: Path) -> None:
    files = [directory / "py_edited" / name for name in ("__init__.py", "part.py")]
    for path in files:
        written(path, 10)
        py_compile.compile(str(path))
    assert (value("py_edited"), value("py_edited.part")) == (10, 10)
    for path in files:
        written(path, 11)
    assert pushed.take(str(directory), "py_edited")
    assert (value("py_edited"), value("py_edited.part")) == (11, 11)


def test_modules_without_a_source_are_loaded_again_as_before() -> None:
    assert objects.reload("math")
    assert not objects.reload("py_never_loaded")
