"""Other users of the machine: what a node has is closed to them, and where they were first a node does not go."""

from __future__ import annotations

import concurrent.futures
import os
import pickle
import socket
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import erl
from erl.errors import NodeError
from erl.link import paths

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone can be another user here")


def as_nobody(function: Callable[[], object]) -> Any:
    """What a function gives in a process of another user, its exception as text."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of Python 3.12: there are threads, which are not asked here
        child = os.fork()
    if child == 0:
        try:
            os.close(reads)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            try:
                said: object = function()
            except BaseException as error:
                said = f"{type(error).__name__}: {error}"
            os.write(writes, pickle.dumps(said))
        finally:
            os._exit(0)
    os.close(writes)
    with open(reads, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(data)


def modes(directory: Path) -> dict[str, int]:
    """Of all that lies there; of links what they lead to is another matter."""
    found = {str(directory): stat.S_IMODE(directory.lstat().st_mode)}
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(root, name)
            if not path.is_symlink():
                found[str(path)] = stat.S_IMODE(path.lstat().st_mode)
    return found


def test_all_that_a_node_has_is_its_users_alone(node: erl.Node) -> None:
    place = node.link.scope.memory
    assert place is not None
    with node.executor() as executor:
        # A task that runs, and a result that was not read: their arrays lie in shared memory.
        kept = executor.submit(bytes, bytearray(1_000_000))
        concurrent.futures.wait([kept], 30)
        running = executor.submit(lambda data: __import__("time").sleep(1) or len(data), bytes(1_000_000))
        own = Path(place.directory).parent
        found = {**modes(own), **modes(Path(node.socket).parent)}
        assert {mode & 0o077 for mode in found.values()} == {0}, found
        assert any("/shm/" in path for path in found)
        assert stat.S_IMODE(os.lstat(node.socket).st_mode) == 0o600
        assert running.result(30) == 1_000_000

    def looks() -> list[str]:
        said = []
        for path in (own, Path(place.directory), Path(node.socket).parent):
            try:
                said.append(str(os.listdir(path)))
            except OSError as error:
                said.append(type(error).__name__)
        for path in found:
            try:
                os.open(path, os.O_RDONLY)
                said.append(f"opened {path}")
            except OSError as error:
                said.append(type(error).__name__)
        return said

    assert set(as_nobody(looks)) == {"PermissionError"}


def test_another_user_does_not_come_in(node: erl.Node) -> None:
    def connects() -> None:
        with socket.socket(socket.AF_UNIX) as made:
            made.connect(node.socket)

    assert as_nobody(connects).startswith("PermissionError")
    said = as_nobody(lambda: erl.connect(node.socket))
    assert said.startswith("NodeError: ")
    assert "Permission denied" in said
    # Nor does a program of root's trust what another user has made.
    assert node.func(abs, -1) == 1


def test_a_place_that_another_user_has_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "erl-py"
    taken.mkdir(0o700)
    os.chown(taken, NOBODY, NOBODY)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(NodeError, match="belongs to another user"):
        erl.start({"default": {"size": 1}}, name="taken place")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(taken / "node.sock"))
    listening.listen()
    os.chown(taken / "node.sock", NOBODY, NOBODY)
    (taken / "node.sock").chmod(0o600)
    with (
        listening,
        pytest.raises(NodeError, match=f"belongs to another user .uid {NOBODY}.*who would get all"),
    ):
        erl.connect()
    assert paths.default() == str(taken / "node.sock")
