"""What is kept when something dies, has no room, or is somebody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

import erl
from erl import errors, functions
from erl.functions import nodes, store
from erl.link.node import Node


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ERL_NODE", raising=False)
    yield
    nodes._joined.clear()
    nodes._used.clear()


def started(directory: Path, name: str = "deaths") -> Node:
    return erl.start({"default": {"size": 1}}, name=name, state_dir=directory)


WRITER = """
import os, sys, erl
from erl import functions
from erl.functions import store
with erl.connect(sys.argv[1]):
    project = functions.get_or_create_project("demo")
    copied = store.copy
    def copy(source, content, *more):
        size = copied(source, content, *more)
        print("written", flush=True)
        sys.stdin.read()
        return size
    store.copy = copy
    project.log_artifact(name="a", source_path=sys.argv[2])
"""


def test_a_program_that_is_killed_while_it_writes_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 1000)
    with started(tmp_path / "state") as node:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, node.socket, str(tmp_path / "file")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        assert len(os.listdir(tmp_path / "state" / "incoming")) == 1
        # Whoever writes is left alone.
        project = functions.get_project("demo")
        made = project.new_function(name="f", code="x = 1", handler="x")
        assert len(os.listdir(tmp_path / "state" / "incoming")) == 1
        process.kill()
        process.communicate(timeout=60)
        functions.delete_function(made.key)
        project.new_function(name="f", code="x = 1", handler="x")
        assert os.listdir(tmp_path / "state" / "incoming") == []
        assert project.list_artifacts() == []


def test_a_node_that_is_killed_while_entities_are_written_has_whole_ones(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (tmp_path / "file").write_text("x" * 100_000)
    beside = started(tmp_path / "beside", name="beside")  # lives on, and is not what is meant
    for turn in range(3):
        node = started(state)
        project = functions.get_or_create_project("demo")
        pid = node.status()["os_pid"]
        killer = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.{turn + 1}; kill -9 {pid}"])
        names = (f"a{turn}-{number}" for number in range(10_000))
        with pytest.raises(errors.NodeDownError):
            deque((project.log_artifact(name=name, source_path=tmp_path / "file") for name in names), 0)
        killer.wait(60)
        # Nothing is kept elsewhere without a word.
        with pytest.raises(errors.NodeDownError):
            functions.list_projects()
        node.stop()
    beside.stop()
    with started(state) as node:
        project = functions.get_project("demo")
        for artifact in project.list_artifacts():
            assert Path(artifact.as_file()).stat().st_size == 100_000
        on_disk = sorted(
            path.parent.parent.name for path in (state / "demo" / "artifact").glob("*/*/entity.json")
        )
        assert [each.name for each in project.list_artifacts()] == on_disk
        eventually(lambda: os.listdir(state / "incoming") == [], 60)


def test_an_entity_that_was_asked_for_twice_is_there_once(tmp_path: Path) -> None:
    """Who has heard nothing asks again with the same id, also of the next node."""
    id_ = "11111111-2222-4333-8444-555555555555"
    with started(tmp_path / "state"):
        functions.get_or_create_project("demo").new_function(name="f", code="x = 1", handler="x", uuid=id_)
    with started(tmp_path / "state"):
        with pytest.raises(errors.EntityExistsError):
            functions.get_project("demo").new_function(name="f", code="x = 1", handler="x", uuid=id_)
        assert functions.get_function("f", "demo").id == id_


def test_the_index_that_dies_is_made_anew(tmp_path: Path) -> None:
    with started(tmp_path / "state") as node:
        project = functions.get_or_create_project("demo")
        made = project.new_function(name="f", code="x = 1", handler="x")
        for killed in ("py_entities", "py_runs"):
            pid = node.call("erlang", "whereis", [erl.Atom(killed)])
            node.call("erlang", "exit", [pid, erl.Atom("kill")])
            eventually(lambda killed=killed, pid=pid: _other(node, killed, pid), 60)  # type: ignore[misc]
            assert project.list_functions() == [made]
            made = project.new_function(name="f", code="x = 2", handler="x")


def _other(node: Node, name: str, pid: Any) -> bool:
    return node.call("erlang", "whereis", [erl.Atom(name)]) not in (pid, None, "undefined")


def test_a_disk_that_is_full_where_python_writes_is_said_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path / "state"):
        project = functions.get_or_create_project("demo")

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store, "copy", full)
        with pytest.raises(errors.EntityError, match="No space left"):
            project.log_artifact(name="a", source_path=__file__)
        assert os.listdir(tmp_path / "state" / "incoming") == []


def test_a_second_node_is_told_whose_the_directory_is_and_its_program_joins_that_one(tmp_path: Path) -> None:
    with started(tmp_path / "state", "one") as one:
        functions.get_or_create_project("demo")
        with erl.start({"default": {"size": 1}}, name="two", state_dir=tmp_path / "other") as two:
            two.call(
                "application",
                "set_env",
                [erl.Atom("py"), erl.Atom("state_dir"), str(tmp_path / "state").encode()],
            )
            status, kind, text = two.call(
                "py_entity", "ask", [erl.Atom("py_entity"), erl.Atom("projects"), []]
            )
            assert (status, kind) == ("error", b"locked")
            assert str(one.status()["os_pid"]).encode() in text
            # The program's node is `two`, and what it asks goes to the one that has the directory.
            assert [each.name for each in functions.list_projects()] == ["demo"]


def test_a_program_without_a_node_starts_one_and_the_next_joins_it(tmp_path: Path) -> None:
    program = (
        "import sys; from erl import functions; project = functions.get_or_create_project('demo')\n"
        "project.new_function(name=sys.argv[1], code='x = 1', handler='x')\n"
        "print(sorted(each.name for each in project.list_functions()), flush=True); sys.stdin.read()\n"
    )
    running = []
    for name in ("one", "two"):
        process = subprocess.Popen(
            [sys.executable, "-c", program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        running.append((process, process.stdout.readline()))
    assert [line for _, line in running] == ["['one']\n", "['one', 'two']\n"]
    for process, _ in reversed(running):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert (tmp_path / "home" / "py" / "demo" / "function" / "two").is_dir()


def test_what_others_have_left_below_incoming_is_theirs_until_it_is_old(tmp_path: Path) -> None:
    with started(tmp_path / "state"):
        project = functions.get_or_create_project("demo")
        project.new_function(name="f", code="x = 1", handler="x")
        incoming = tmp_path / "state" / "incoming"
        own = store._process()
        elsewhere = f"{os.getpid()}-1-1-aa"
        for name in (f"{own}-aa", elsewhere, "1-2", "odd"):
            (incoming / name).mkdir()
        parts = own.split("-")
        (incoming / f"{parts[0]}-{int(parts[1]) + 1}-{parts[2]}-bb").mkdir()
        os.utime(incoming / "odd", (0, 0))
        project.new_function(name="f", code="x = 1", handler="x")
        # Another process of this number has ended; the rest may be written elsewhere.
        assert sorted(os.listdir(incoming)) == sorted([f"{own}-aa", elsewhere, "1-2"])


def test_a_fork_asks_by_a_link_of_its_own(tmp_path: Path) -> None:
    with started(tmp_path / "state") as node:
        functions.get_or_create_project("demo")
        program = (
            "import os, sys, erl; from erl import functions\n"
            "with erl.connect(sys.argv[1]):\n"
            "    functions.get_project('demo')\n"
            "    if (child := os.fork()) == 0:\n"
            "        with erl.connect(sys.argv[1]):\n"
            "            functions.get_project('demo'); os._exit(7)\n"
            "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, node.socket],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr
