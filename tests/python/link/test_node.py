"""A node of a Python program's own: calls of Erlang, what it says of itself, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
from waiting import eventually

import erl
from erl import errors
from erl.link import NodeDownError, NodeError


def test_erlang_is_called_with_python_values(node: erl.Node) -> None:
    assert node.call("lists", "sum", [[1, 2, 3]]) == 6
    assert node.call("erlang", "binary_to_atom", ["tea"]) == erl.Atom("tea")
    assert node.call("string", "uppercase", ["tea"]) == b"TEA"
    assert node.call("maps", "get", [erl.Atom("a"), {erl.Atom("a"): None}]) is None


def test_what_erlang_raises_is_raised_here(node: erl.Node) -> None:
    with pytest.raises(errors.ErlangError) as caught:
        node.call("erlang", "error", [erl.Atom("no")])
    assert (caught.value.class_, caught.value.reason) == ("error", "no")


def test_what_erlang_raises_says_what_it_was_whatever_it_holds(node: erl.Node) -> None:
    with pytest.raises(errors.ErlangError, match="nosuch:f/0"):
        node.call("nosuch", "f", [])
    with pytest.raises(errors.ErlangError) as caught:
        node.call("erlang", "error", [1 << 100_000])
    assert "too large to be shown" in str(caught.value)


def test_a_call_that_takes_too_long_is_given_up(node: erl.Node) -> None:
    with pytest.raises(errors.AnswerTimeoutError):
        node.call("timer", "sleep", [60_000], timeout=0.2)


def test_a_coroutine_calls_erlang(node: erl.Node) -> None:
    async def both() -> list[object]:
        return await asyncio.gather(*(node.acall("lists", "sum", [[number, 1]]) for number in range(2)))

    assert asyncio.run(both()) == [1, 2]


def test_a_function_is_called_in_a_worker(node: erl.Node) -> None:
    assert node.func("math.sqrt", 2) == pytest.approx(1.41421, abs=1e-4)
    assert node.func("builtins.dict", a="é") == {"a": "é"}
    assert node.func(os.getpid) not in (os.getpid(), node.status()["os_pid"])


def test_the_node_says_what_it_has(node: erl.Node) -> None:
    assert node.pools["default"]["size"] == 2
    assert len(node.pools["default"]["workers"]) == 2
    assert "default" in node.status()["pools"]
    assert "default of 2" in repr(node)
    assert node.socket in repr(node)


def test_starting_again_is_the_same_node_or_says_what_to_do(node: erl.Node) -> None:
    assert erl.start({"default": {"size": 2}}, name="tests") is node
    with pytest.raises(NodeError, match=r"node\.stop\(\)"):
        erl.start({"default": {"size": 1}}, name="tests")


def test_a_node_that_was_stopped_says_so_and_another_one_starts() -> None:
    first = erl.start({"default": {"size": 1}}, name="stopped")
    os_pid = first.status()["os_pid"]
    workers = first.func(os.getpid)
    first.stop()
    first.stop()
    with pytest.raises(NodeError, match="stopped"):
        first.call("erlang", "node", [])
    assert "gone" in repr(first)
    for pid in (os_pid, workers):
        eventually(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))
    with erl.start({"default": {"size": 1}}, name="stopped") as second:
        assert second is not first
        assert second.func("math.floor", 2.5) == 2


def test_the_death_of_the_beam_fails_what_is_open_at_once() -> None:
    doomed = erl.start({"default": {"size": 1}}, name="doomed")
    executor = doomed.executor()
    futures = [executor.submit(time.sleep, 60) for _ in range(5)]
    begun = time.monotonic()
    os.kill(doomed.status()["os_pid"], signal.SIGKILL)
    for future in futures:
        with pytest.raises(NodeDownError):
            future.result(20)
    assert time.monotonic() - begun < 20
    with pytest.raises(NodeError):
        executor.submit(abs, 1).result(20)
    with erl.start({"default": {"size": 1}}, name="doomed") as other:
        assert other.func(abs, -1) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_is_refused_clearly(node: erl.Node) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            node.call("erlang", "node", [])
        except NodeError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        assert "forked" in file.read()
    os.waitpid(pid, 0)
    assert node.func(abs, -1) == 1


PROGRAM = """\
import os, sys, time, erl
node = erl.start({"default": {"size": 1}})
print(node.status()["os_pid"], node.func(os.getpid), node.socket, flush=True)
%s
"""


def program(rest: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM % rest], stdout=subprocess.PIPE, text=True)


def gone(line: str) -> bool:
    beam, worker, path = line.split()
    return not any(map(os.path.exists, (f"/proc/{beam}", f"/proc/{worker}", path)))


def test_a_program_that_does_not_stop_its_node_leaves_nothing() -> None:
    run = program("")
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    eventually(lambda: gone(out))


def test_a_program_that_is_killed_leaves_nothing() -> None:
    run = program("time.sleep(600)")
    assert run.stdout is not None
    line = run.stdout.readline()
    run.kill()
    run.wait()
    eventually(lambda: gone(line))
    run.stdout.close()


def test_without_erlang_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeError, match="erlang-base erlang-crypto"):
        erl.start({"default": {"size": 1}}, name="none")


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo no such thing >&2; exit 1", "does not run"),
        ('case "$*" in *-eval*) printf "24 yes";; esac; exit 1', "OTP 24"),
        ('case "$*" in *-eval*) printf "27 no";; esac; exit 1', "erlang-crypto"),
    ],
)
def test_an_erlang_that_does_not_do_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, script: str, text: str
) -> None:
    from pathlib import Path

    program = Path(str(tmp_path)) / "erl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(NodeError, match=text):
        erl.start({"default": {"size": 1}}, name="none")
