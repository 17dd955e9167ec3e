"""A node that a program joins: by its socket, and from inside of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import erl
from erl.futures import PoolExecutor
from erl.link import NodeError, default, paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def joined(node: erl.Node) -> Iterator[erl.Node]:
    with erl.connect(node.socket) as made:
        yield made


def test_a_node_is_joined_and_left(node: erl.Node, joined: erl.Node) -> None:
    assert joined is not node
    assert erl.connect(node.socket) is joined
    assert default() is joined
    assert joined.call("lists", "sum", [[1, 2]]) == 3
    assert joined.status()["os_pid"] == node.status()["os_pid"]
    joined.stop()
    with pytest.raises(NodeError, match="left"):
        joined.call("erlang", "node", [])
    assert node.func(abs, -1) == 1
    assert erl.connect(node.socket).func(abs, -2) == 2


def test_code_of_modules_that_are_not_installed_goes_by_value(joined: erl.Node, tmp_path: Path) -> None:
    (tmp_path / "drivers_own.py").write_text(
        "factor = 3\nclass Box:\n    def __init__(self, value):\n        self.value = value\n\n"
        "def times(box):\n    return Box(helper(box.value))\n\ndef helper(number):\n    return factor * number\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import drivers_own  # type: ignore[import-not-found]

        with joined.executor() as executor:
            assert executor.submit(drivers_own.times, drivers_own.Box(2)).result(30).value == 6
            drivers_own.factor = 5
            assert executor.submit(drivers_own.times, drivers_own.Box(2)).result(30).value == 10
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("drivers_own", None)


@pytest.mark.parametrize("name", ["dist-packages", "site-packages"])
def test_what_is_installed_for_the_system_or_the_user_goes_by_name(tmp_path: Path, name: str) -> None:
    from erl.values import parcels

    directory = tmp_path / name
    directory.mkdir()
    (directory / f"of_{name[:4]}.py").write_text("def one():\n    return 1\n")
    sys.path.insert(0, str(directory))
    try:
        module = __import__(f"of_{name[:4]}")
        assert parcels.is_installed(module.__name__)
        assert len(parcels.pickled(module.one, None, True)) < 60
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop(f"of_{name[:4]}", None)


def test_two_programs_with_modules_of_the_same_name_do_not_meet(joined: erl.Node, tmp_path: Path) -> None:
    program = (
        "import sys, erl, shared_name\n"
        "node = erl.connect(sys.argv[1])\n"
        "print([node.executor().submit(shared_name.who).result(60) for _ in range(4)])"
    )
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "shared_name.py").write_text(f"def who():\n    return {name!r}\n")
        done = subprocess.run(
            [sys.executable, "-c", program, joined.socket],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(directory), *filter(None, sys.path)])},
        )
        assert done.stdout.strip() == repr([name] * 4), done.stderr


def asks_here() -> Any:
    node = erl.here()
    with node.executor() as executor:
        return node.call("lists", "sum", [[1, 2]]), executor.submit(abs, -3).result(60), default() is node


def test_a_worker_has_the_node_that_it_belongs_to(executor: PoolExecutor) -> None:
    assert executor.submit(asks_here).result(60) == (3, 3, True)


def test_here_is_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ERL_NODE", raising=False)
    with pytest.raises(NodeError, match=r"erl\.start\(\)"):
        erl.here()


def test_nobody_at_a_socket_is_an_error_that_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(NodeError, match="there is no"):
        erl.connect(tmp_path / "node.sock")
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeError, match="no socket"):
        erl.connect(tmp_path / "file")
    import socket

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
    (tmp_path / "dead").chmod(0o600)
    with pytest.raises(NodeError, match="nobody listens"):
        erl.connect(tmp_path / "dead")


def test_a_socket_where_others_may_have_made_it_is_refused(node: erl.Node, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(os.path.dirname(node.socket))
    with pytest.raises(NodeError):
        erl.connect(link / os.path.basename(node.socket))
    import socket

    with socket.socket(socket.AF_UNIX) as open_to_all:
        open_to_all.bind(str(tmp_path / "open"))
        open_to_all.listen()
        (tmp_path / "open").chmod(0o666)
        with pytest.raises(NodeError):
            erl.connect(tmp_path / "open")
        (tmp_path / "open").chmod(0o600)
        tmp_path.chmod(0o755)
        with pytest.raises(NodeError):
            erl.connect(tmp_path / "open")
        if os.geteuid() == 0:
            tmp_path.chmod(0o700)
            os.chown(tmp_path / "open", 12345, -1)
            with pytest.raises(NodeError, match="another user"):
                erl.connect(tmp_path / "open")


def test_a_path_that_is_too_long_has_a_short_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 120))
    assert paths.short(long) == paths.short(long)
    assert len(paths.short(long)) < 60
    assert paths.short("/run/node.sock") == "/run/node.sock"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert paths.default() == "/run/user/7/erl-py/node.sock"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert paths.default() == "/state/erl-py/node.sock"
