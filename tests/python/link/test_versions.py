"""Workers of another version of Python than the driver's: what goes by name works, code by value is refused."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import erl
from erl.errors import NodeError
from erl.futures import InitializerError

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = [(3, minor) for minor in range(10, 15) if (3, minor) != sys.version_info[:2]]
OURS = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
PACKAGE = Path(erl.__file__).parents[1]


def other_python() -> str | None:
    """One that runs, and is not of this version."""
    found = [shutil.which(f"python{major}.{minor}") or "" for major, minor in reversed(VERSIONS)]
    for major, minor in reversed(VERSIONS):
        found += map(str, Path.home().glob(f".pyenv/versions/{major}.{minor}.*/bin/python"))
    for python in filter(None, found):
        done = subprocess.run([python, "-c", "print(1)"], capture_output=True, stdin=subprocess.DEVNULL)
        if done.stdout == b"1\n":
            return python
    return None


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An interpreter, and a directory with what it needs of this one's."""
    import cloudpickle  # type: ignore[import-untyped]
    import erlang  # type: ignore[import-untyped]

    python = other_python()
    if python is None:
        pytest.skip("there is no other Python of 3.10 or later here")
    needed = tmp_path_factory.mktemp("needed")
    (needed / "erlang.py").symlink_to(erlang.__file__)
    (needed / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
    return python, str(needed)


@pytest.fixture(scope="module")
def mixed(other: tuple[str, str]) -> Iterator[erl.Node]:
    python, needed = other
    options = {"size": 1, "python": python, "env": {"PYTHONPATH": needed}}
    with erl.start({"default": options}, name="other version") as node:
        yield node


OF_ANOTHER_VERSION = """
import sys, erl
from erl.futures import PoolExecutor

def own():
    pass

def said(function, **keywords):
    try:
        with PoolExecutor(**keywords) as executor:
            return executor.submit(function).result(60)
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\\n", " ")

erl.connect(sys.argv[1])
print(said(list, initializer=own))
print(said(own, max_workers=1))
print(said(own))
print(said(list))
"""


def test_what_goes_by_name_and_values_work(mixed: erl.Node, tmp_path: Path) -> None:
    assert mixed.pools["default"]["python"] in VERSIONS
    with mixed.executor() as executor:
        assert executor.submit(math.sqrt, 4).result(30) == 2
        assert executor.submit("json.loads", "[1]").result(30) == [1]
        assert executor.submit(bytes.__len__, bytes(200_000)).result(30) == 200_000
        assert executor.submit(json.dumps, {"a": None}).result(30) == '{"a": null}'
        assert list(executor.map(abs, range(-100, 0))) == list(range(100, 0, -1))
        assert type(executor.submit(int, "x").exception(30)) is ValueError
        (tmp_path / "of_the_program.py").write_text("def twice(number):\n    return 2 * number\n")
        sys.path.insert(0, str(tmp_path))
        try:
            import of_the_program  # type: ignore[import-not-found]

            assert executor.submit(of_the_program.twice, 2).result(30) == 4
        finally:
            sys.path.remove(str(tmp_path))
            sys.modules.pop("of_the_program")


@pytest.mark.parametrize(
    "call",
    [
        (lambda: 1,),
        (map, lambda number: number),
        (isinstance, type("Made", (), {})(), int),
    ],
)
def test_code_that_would_go_by_value_is_refused_with_both_versions(
    mixed: erl.Node, call: tuple[Any, ...]
) -> None:
    with mixed.executor() as executor:
        future = executor.submit(*call)
        assert future.done()  # nothing was sent
        with pytest.raises(NodeError, match=f"this is {OURS}, and the workers .* run Python 3"):
            future.result(30)
        assert executor.submit(abs, -1).result(30) == 1


def test_an_executors_own_pool_of_another_version(node: erl.Node, other: tuple[str, str]) -> None:
    """A program of that version that joins a node of this one's."""
    python, needed = other
    program = OF_ANOTHER_VERSION
    done = subprocess.run(
        [python, "-c", program, node.socket],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{needed}"},
    )
    assert done.returncode == 0, done.stderr
    initializer, own, default, by_name = done.stdout.splitlines()
    assert initializer.startswith(InitializerError.__name__)
    assert f"is not read by {OURS}" in initializer
    for each in (own, default):
        assert each.startswith("NodeError: ")
        assert OURS in each
    assert by_name == "[]"


def test_a_result_that_is_code_is_refused_where_it_is_read(mixed: erl.Node) -> None:
    with mixed.executor() as executor:
        error = executor.submit(eval, "lambda: 1").exception(30)
        assert isinstance(error, (NodeError, TypeError))
        assert executor.submit(abs, -1).result(30) == 1


def test_code_by_value_asks_before_anything_of_it_is_read(other: tuple[str, str]) -> None:
    from erl.values import parcels

    python, needed = other
    data = parcels.pickled(lambda: 1)
    assert pickle.loads(data)() == 1
    done = subprocess.run(
        [python, "-c", "import pickle, sys; pickle.loads(sys.stdin.buffer.read())"],
        input=data,
        capture_output=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{needed}"},
    )
    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith(
        f"erl.errors.NodeError: code of {OURS}, which went by value, is not read by Python 3"
    )


def test_an_interpreter_that_lacks_what_it_needs_says_what_to_install(other: tuple[str, str]) -> None:
    if (PACKAGE / "erlang.py").exists():
        pytest.skip("erl is installed here beside what it needs, and other interpreters find both")
    with pytest.raises(NodeError, match=r"lacks erlang-py(.|\n)*-m pip install erlang-py"):
        erl.start({"default": {"size": 1, "python": other[0]}}, name="lacking")


def test_a_virtual_environment_is_an_interpreter() -> None:
    if sys.prefix == sys.base_prefix:
        pytest.skip("these tests don't run in a virtual environment")
    with erl.start({"default": {"size": 1, "python": ("venv", sys.prefix)}}, name="venv") as node:
        assert node.func("sys.prefix.__str__") == sys.prefix
