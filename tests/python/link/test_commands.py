"""`python -m erl node` and `python -m erl submit`, as a shell runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, time
import erl
from erl.futures import PoolExecutor

def beside(value):
    return value + 1

if __name__ == "__main__":
    print(*sys.argv[1:], erl.here().socket, flush=True)
    print("said", file=sys.stderr, flush=True)
    with PoolExecutor() as executor:
        print(executor.submit(beside, 41).result(), flush=True)
    what = sys.argv[-1]
    if what == "raise":
        raise ValueError("boom")
    if what == "sleep":
        print(os.getpid(), erl.here().status()["os_pid"], flush=True)
        time.sleep(60)
    if what == "handle":
        import signal

        def told(number, _):
            # Not by print: the next signal may come while that is within its stream.
            os.write(1, b"told %d\\n" % number)
            if number == signal.SIGUSR1:
                sys.exit(5)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, told)
        print(os.getpid(), erl.here().status()["os_pid"], flush=True)
        while True:
            time.sleep(60)
    sys.exit(7)
"""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "erl", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def lives(os_pid: int) -> bool:
    try:
        return Path(f"/proc/{os_pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def gone(os_pids: list[int], seconds: float = 10) -> bool:
    """Whether all of them end within that."""
    until = time.monotonic() + seconds
    while any(lives(each) for each in os_pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever the test finds, nothing is left."""
    with process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("before", [[], ["standalone"]])
@pytest.mark.parametrize("name", [[], ["script.py"]])
def test_script_has_its_arguments_streams_and_status(
    script: Path, before: list[str], name: list[str]
) -> None:
    done = run("submit", *before, "python", script, *name, "green", "tea")
    assert done.returncode == 7, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("green tea /")
    assert (second, done.stderr) == ("42", "said\n")


def test_script_that_raises_shows_its_traceback(script: Path) -> None:
    done = run("submit", "python", script, "raise")
    assert done.returncode == 1
    assert done.stderr.startswith("said\nTraceback")
    assert done.stderr.endswith("ValueError: boom\n")


def test_entry_of_a_zip_is_run(tmp_path: Path) -> None:
    archive = tmp_path / "work.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("inner/main.py", SCRIPT)
    done = run("submit", "python_zip", archive, "inner/main.py", "tea")
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("tea /")
    refused = run("submit", "python_zip", archive, "../main.py")
    assert (refused.returncode, "is not in" in refused.stderr) == (1, True)
    archive.write_bytes(b"tea")
    assert run("submit", "python_zip", archive, "main.py").returncode == 1


@pytest.mark.parametrize("arguments", [[], ["tea"], ["python"], ["python_zip", "a.zip"], ["standalone"]])
def test_wrong_arguments_show_the_usage(arguments: list[str]) -> None:
    done = run("submit", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")


def test_missing_script_is_told(tmp_path: Path) -> None:
    done = run("submit", "python", tmp_path / "none.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no file" in done.stderr


@contextmanager
def submitted(script: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A script that sleeps, and the processes that are there for it."""
    process = subprocess.Popen(
        command("submit", "python", script, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    with ended(process):
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        os_pids = [int(each) for each in process.stdout.readline().split()]
        assert all(lives(each) for each in os_pids)
        yield process, os_pids
        assert gone(os_pids)


@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        (signal.SIGINT, False),
        (signal.SIGINT, True),
        (signal.SIGTERM, False),
        (signal.SIGHUP, True),
        (signal.SIGKILL, False),
    ],
)
def test_signal_ends_script_and_node(script: Path, number: signal.Signals, to_all: bool) -> None:
    with submitted(script, "sleep") as (process, _):
        if to_all:  # as a terminal does
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(20) == -number


@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)]
)
def test_signal_that_a_script_handles_is_told_once(
    script: Path, number: signal.Signals, to_all: bool
) -> None:
    with submitted(script, "handle") as (process, _):
        for _ in range(2):
            if to_all:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
            assert process.stdout is not None
            assert process.stdout.readline() == f"told {int(number)}\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.read() == "told 10\n"
        assert process.wait(20) == 5


def test_a_killed_keeper_takes_the_node_along_and_not_the_script(script: Path) -> None:
    with submitted(script, "handle") as (process, (_, beam)):
        os.kill(int(Path(f"/proc/{beam}/stat").read_text().rpartition(") ")[2].split()[1]), signal.SIGKILL)
        assert gone([beam])
        assert process.poll() is None
        process.send_signal(signal.SIGUSR1)
        assert process.wait(20) == 5


def test_script_has_the_flags_and_no_child(tmp_path: Path) -> None:
    script = tmp_path / "flags.py"
    script.write_text(
        "import os, sys\n"
        "try:\n    os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError:\n    print('no child')\n"
        "print(sys.flags.optimize, sys.flags.utf8_mode, sys.warnoptions, os.getppid())\n"
    )
    done = subprocess.run(
        [sys.executable, "-OO", "-X", "utf8", "-W", "error", *command("submit", "python", script)[1:]],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == f"no child\n2 1 ['error'] {os.getpid()}\n", done.stderr


def test_node_serves_until_it_is_stopped(tmp_path: Path, script: Path) -> None:
    state = tmp_path / "state"
    pools = tmp_path / "pools.json"
    pools.write_text(json.dumps({"default": {"size": 1}, "tea": {"size": 1, "strings": "binary"}}))
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(tmp_path / "notify"))
    notified.settimeout(30)
    node = subprocess.Popen(
        command("node", "--state-dir", state, "--pools", pools),
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        stderr=subprocess.PIPE,
        text=True,
    )
    with ended(node), notified:
        assert notified.recv(100) == b"READY=1"
        assert ", 2 connected" in run("node", "status", "--state-dir", state).stdout
        status = json.loads(run("node", "status", "--json", "--connect", state / "node.sock").stdout)
        assert sorted(status["pools"]) == ["default", "tea"]
        again = run("node", "--state-dir", state)
        assert (again.returncode, "belongs to a node that runs" in again.stderr) == (1, True)
        joined = run("submit", "--connect", state / "node.sock", "python", script, "tea")
        assert joined.returncode == 7, joined.stderr
        # It outlives who has joined.
        assert run("node", "status", "--state-dir", state).returncode == 0
        assert run("node", "stop", "--state-dir", state).returncode == 0
        assert node.wait(20) == 0
        assert gone([status["os_pid"]])
    missing = run("node", "status", "--state-dir", state)
    assert (missing.returncode, "there is no socket" in missing.stderr) == (1, True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_node_ends_with_its_command(tmp_path: Path, number: signal.Signals, status: int) -> None:
    state = tmp_path / "state"
    node = subprocess.Popen(command("node", "--state-dir", state), stderr=subprocess.PIPE, text=True)
    with ended(node):
        assert node.stderr is not None
        assert "serves at" in node.stderr.readline()
        told = json.loads(run("node", "status", "--json", "--state-dir", state).stdout)
        os_pids = [told["os_pid"], *(worker["os_pid"] for worker in told["pools"]["default"]["workers"])]
        node.send_signal(number)
        assert node.wait(20) == status
        assert gone(os_pids, 3)
        assert not (state / "node.sock").exists()


@pytest.mark.parametrize("text", ["tea", "[]", '{"default": 4}', '{"default": {"sise": 4}}'])
def test_file_without_pools_is_told(tmp_path: Path, text: str) -> None:
    pools = tmp_path / "pools.json"
    pools.write_text(text)
    done = run("node", "--state-dir", tmp_path / "state", "--pools", pools)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("erl node: ")
