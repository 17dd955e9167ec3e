"""The BEAM that a program starts, as its parent sees it: what it is told over descriptor 0, and whose end ends it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from erl import codec
from erl.link import child, protocol
from erl.link.channel import connected
from erl.link.conversation import Link
from erl.terms import Atom


class Parent:
    """A parent that says what it likes."""

    def __init__(
        self, directory: Path, environment: dict[str, str] | None = None, descriptors: int | None = None
    ) -> None:
        self.path = directory / "run" / "node.sock"
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(30)
        arguments = ["-noinput", "-boot", "no_dot_erlang", "-start_epmd", "false"]
        self.process = subprocess.Popen(
            ["erl", *arguments, "-pa", str(child._code()), "-s", "py_node", "main"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**child._environment(), **(environment or {})},
            preexec_fn=descriptors
            and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))),
        )
        theirs.close()

    def say(self, *message: Any) -> None:
        self.socket.sendall(protocol.message(str(message[0]), *message[1:]))

    def start(self, version: int = protocol.VERSION, **more: Any) -> Any:
        settings = {
            "parent": os.getpid(),
            "path": str(self.path),
            "pools": {"default": {"size": 1, "python": sys.executable}},
            **more,
        }
        self.say("start", version, {Atom(key): value for key, value in settings.items()})
        return self.hear()

    def hear(self) -> Any:
        size = int.from_bytes(self._exactly(4), "big")
        return codec.decode(self._exactly(size), protocol.OPTIONS)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.communicate(timeout=30)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    made = Parent(tmp_path)
    yield made
    made.close()


def lives(os_pid: int) -> bool:
    try:
        return Path(f"/proc/{os_pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def joined(path: Path) -> tuple[Link, list[int], Path]:
    """A link, the interpreters, and the directory of the application's files."""
    link = Link(connected(str(path), 10))
    status = link.answer(link.request("status"), 30)
    workers = [worker for pool in status["pools"].values() for worker in pool["workers"]]
    place = os.fsdecode(link.info["shared"]["directory"])
    return link, [worker["os_pid"] for worker in workers], Path(place).parent


def test_a_node_is_ready_when_its_pools_serve(parent: Parent) -> None:
    kind, version, info = parent.start()
    assert (kind, version) == ("ready", protocol.VERSION)
    assert info["os_pid"] == parent.process.pid
    assert info["path"] == os.fsencode(parent.path)
    link, _, _ = joined(parent.path)
    # No distribution: no name, no cookie, nobody who listens.
    assert info["node"] == "nonode@nohost"
    assert link.answer(link.request("call", Atom("erlang"), Atom("get_cookie"), []), 10) == "nocookie"
    assert (
        link.answer(link.request("call", Atom("erlang"), Atom("whereis"), [Atom("net_kernel")]), 10) is None
    )
    link.close("that was all")
    parent.say("stop", 0)
    assert parent.process.wait(20) == 0
    assert not parent.path.exists()


def test_what_users_have_configured_is_not_run(tmp_path: Path) -> None:
    (tmp_path / ".erlang").write_text(f'file:write_file("{tmp_path}/ran", "tea").\n')
    parent = Parent(tmp_path, {"HOME": str(tmp_path)})
    try:
        assert parent.start()[0] == "ready"
        assert not (tmp_path / "ran").exists()
        assert not (tmp_path / ".erlang.cookie").exists()
    finally:
        parent.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"pools": {"default": {"sise": 1}}}, b"unknown option"),
        ({"pools": {"default": {"size": 0}}}, b"option size must be"),
        ({"pools": {"default": {"python": "/no/python"}}}, b"no executable /no/python"),
        ({"path": "/proc/self/node.sock"}, b"no gateway at"),
        ({"version": 77}, b"speaks version 1"),
        ({"env": {Atom("max_shared_bytes"): -1}}, b"max_shared_bytes"),
        ({"env": {Atom("pols"): []}}, b"unknown option pols"),
    ],
)
def test_a_node_that_can_not_start_says_why(parent: Parent, settings: dict[str, Any], why: bytes) -> None:
    kind, _, text = parent.start(**settings)
    assert kind == "failed"
    assert why in text
    parent.socket.close()
    assert parent.process.wait(20) == 1


@pytest.mark.parametrize("data", [b"\0\0\0\1\x83", b"\0\0\0\3tea", protocol.message("stop", 0)])
def test_a_first_message_that_is_none_is_told(parent: Parent, data: bytes) -> None:
    parent.socket.sendall(data)
    assert parent.hear()[:2] == ("failed", "protocol")
    parent.socket.close()
    assert parent.process.wait(20) == 1


def test_a_node_without_a_parent_ends_before_its_start(parent: Parent) -> None:
    parent.socket.close()
    assert parent.process.wait(20) == 0


def test_the_end_of_descriptor_0_ends_the_node_with_all_it_has(parent: Parent) -> None:
    parent.start()
    link, os_pids, directory = joined(parent.path)
    link.request("call", Atom("timer"), Atom("sleep"), [Atom("infinity")])
    parent.socket.close()
    assert within(3, lambda: not any(map(lives, [parent.process.pid, *os_pids])))
    assert not directory.exists()
    assert not parent.path.exists()


def test_a_node_without_descriptors_goes_on_and_lets_others_in_later(tmp_path: Path) -> None:
    parent = Parent(tmp_path, descriptors=70)
    try:
        assert parent.start()[0] == "ready"
        link, _, _ = joined(parent.path)
        waiting = []
        for _ in range(64):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].connect(str(parent.path))
        # None is left for a while: the parent can't be looked for either.
        time.sleep(1.5)
        assert link.answer(link.request("call", Atom("erlang"), Atom("node"), []), 30) == "nonode@nohost"
        for each in waiting:
            each.close()
        again, os_pids, _ = joined(parent.path)
        assert all(map(lives, os_pids))
        again.close("that was all")
    finally:
        parent.close()


def test_a_killed_beam_leaves_nothing(parent: Parent) -> None:
    parent.start()
    link, os_pids, directory = joined(parent.path)
    place = link.info["shared"]
    (directory / "shm" / f"{place['maker'].decode()}-1-3").write_bytes(b"tea")
    parent.process.send_signal(signal.SIGKILL)
    assert within(3, lambda: not any(map(lives, [parent.process.pid, *os_pids])) and not directory.exists())


def test_the_parents_end_ends_the_node_though_a_fork_keeps_its_descriptors(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import erl, os, time\n"
        "if __name__ == '__main__':\n"
        "    node = erl.start({'default': {'size': 1}})\n"
        "    status = node.status()\n"
        "    fork = os.fork()\n"
        "    if fork == 0:\n"
        "        time.sleep(60)\n"
        "        os._exit(0)\n"
        "    workers = [each['os_pid'] for each in status['pools']['default']['workers']]\n"
        "    print(fork, status['os_pid'], *workers, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        fork, *os_pids = map(int, program.stdout.readline().split())
        try:
            assert len(os_pids) == 2
            program.kill()
            program.wait(20)
            assert within(3, lambda: not any(map(lives, os_pids)))
            assert lives(fork)
        finally:
            os.kill(fork, signal.SIGKILL)
