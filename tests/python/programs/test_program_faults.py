"""Deaths, and others who misbehave: what becomes of a program's tasks, and what is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from waiting import eventually

import erl
from erl.errors import NodeDownError, NodeError, WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = 100
SECONDS = 60.0
"""For what takes two or three where nobody else uses the machine."""


@pytest.fixture
def pair() -> Iterator[erl.Node]:
    """A node of the test's own, to be treated badly."""
    with erl.start({"default": {"size": 2}}, name="faults") as running:
        yield running


def test_answers_are_written_before_a_function_begins_that_may_die(pair: erl.Node) -> None:
    executor = pair.executor()
    rounds = 12
    with_losses = 0
    for _ in range(rounds):
        for future in [executor.submit(pow, 2, 2) for _ in range(5 * TASKS)]:
            assert future.result() == 4  # from now on workers have many of them at a time
        fast = [executor.submit(pow, 2, each) for each in range(TASKS)]
        deadly = executor.submit(os._exit, 3)
        assert isinstance(deadly.exception(), WorkerLostError)
        lost = [each for each in fast if each.exception() is not None]
        assert all(isinstance(each.exception(), WorkerLostError) for each in lost)
        assert all(each.result() == 2**number for number, each in enumerate(fast) if each not in lost)
        with_losses += bool(lost)
        eventually(
            lambda: all(each["state"] == "serving" for each in pair.status()["pools"]["default"]["workers"]),
            SECONDS,
        )
    # One may have been lost where its worker died again before it was up; without that it is every third round.
    assert with_losses <= 2


APPENDS = """
import os

def append(path, number):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"%d\\n" % number)
    os.close(descriptor)
    return number
"""


def test_each_task_runs_once_or_says_that_its_worker_died(pair: erl.Node, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(APPENDS, namespace)
    log = tmp_path / "log"
    executor = pair.executor()
    futures, killed = [], 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        futures += [executor.submit(namespace["append"], str(log), len(futures) + each) for each in range(50)]
        for worker in pair.status()["pools"]["default"]["workers"]:
            if worker["state"] == "serving" and killed < 20:
                killed += is_killed(worker["os_pid"])
                break
    failed = {number for number, future in enumerate(futures) if future.exception() is not None}
    for number in failed:
        assert isinstance(futures[number].exception(), WorkerLostError)
    ran = Counter(int(line) for line in log.read_text().splitlines())
    assert killed >= 2
    assert max(ran.values()) == 1
    assert set(range(len(futures))) - failed <= set(ran)
    assert executor.submit(abs, -1).result() == 1


def test_with_retries_every_task_has_its_result_whatever_dies(pair: erl.Node) -> None:
    executor = pair.executor(retries=20)
    futures = [executor.submit(slow_square, each) for each in range(200)]
    for _ in range(4):
        for worker in pair.status()["pools"]["default"]["workers"]:
            if worker["state"] == "serving":
                is_killed(worker["os_pid"])
        eventually(
            lambda: any(each["state"] == "serving" for each in pair.status()["pools"]["default"]["workers"])
        )
    assert [each.result(120) for each in futures] == [each**2 for each in range(200)]


def is_killed(pid: int) -> bool:
    """Whether it was there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def slow_square(number: int) -> int:
    time.sleep(0.005)
    return number**2


DRIVER = """
import os, sys, time, erl
node = erl.start({"default": {"size": 2}})
workers = [each["os_pid"] for each in node.status()["pools"]["default"]["workers"]]
executor = node.executor()
kept = executor.submit(bytes, 10_000_000).result()
futures = [executor.submit(bytes, 10_000_000) for _ in range(50)]
futures += [executor.submit(time.sleep, 600) for _ in range(5)]
print(node.status()["os_pid"], *workers, node.socket, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_of_a_program_and_a_beam_that_are_killed_at_once() -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    beam, *workers, socket = driver.stdout.readline().split()
    os.kill(int(beam), signal.SIGKILL)
    driver.kill()
    driver.communicate()
    eventually(lambda: not any(map(is_alive, (beam, *workers))), SECONDS)
    eventually(lambda: not os.path.exists(socket), SECONDS)
    eventually(
        lambda: not [each for each in os.listdir("/dev/shm") if each.startswith(f"erl-py-{beam}-")], SECONDS
    )


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_task_that_kills_its_beam_fails_and_another_node_starts(pair: erl.Node) -> None:
    executor = pair.executor()
    runs = executor.submit(time.sleep, 600)
    deadly = executor.submit(os.kill, pair.status()["os_pid"], signal.SIGKILL)
    waiting = [executor.submit(time.sleep, 600) for _ in range(5)]
    for future in [deadly, runs, *waiting]:
        with pytest.raises(NodeDownError):
            future.result(60)
    with erl.start({"default": {"size": 2}}, name="faults") as other:
        assert other is not pair
        assert other.func(abs, -1) == 1


def test_too_few_open_files_are_named() -> None:
    files = 12  # of which a BEAM wants more, whatever it does
    program = "import erl\nerl.start({'default': {'size': 2}})"
    run = subprocess.run(
        ["sh", "-c", f'ulimit -n {files} && exec "$0" -c "$1"', sys.executable, program],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert f"{files} files open at a time (ulimit -n)" in run.stderr
    assert "NodeError" in run.stderr


FULL = """
import os, sys, erl
node = erl.start({"default": {"size": 2}})
executor = node.executor()
print([len(executor.submit(bytes, 1_000_000).result()) for _ in range(5)])
print(executor.submit(len, bytes(5_000_000)).result())
print(type(executor.submit(len, bytes(100_000_000)).exception()).__name__)
print(type(executor.submit(bytes, 100_000_000).exception()).__name__)
print(executor.submit(abs, -1).result(), [each["restarts"] for each in node.status()["pools"]["default"]["workers"]])
node.stop()
print([each for each in os.listdir("/dev/shm") if each != "full"])
"""


def test_where_shared_memory_is_full_values_go_by_the_socket_or_say_so() -> None:
    enter = ["unshare", "-m", "sh", "-c"]
    small = "mount -t tmpfs -o size=1m tmpfs /dev/shm && dd if=/dev/zero of=/dev/shm/full bs=1M count=1"
    if subprocess.run([*enter, small], capture_output=True).returncode != 0:
        pytest.skip("a /dev/shm of the test's own wants root and mount namespaces")
    run = subprocess.run(
        [*enter, f'{small} && exec "$0" -c "$1"', sys.executable, FULL],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.splitlines() == [
        str([1_000_000] * 5),
        "5000000",
        "SharedMemoryError",
        "NodeError",
        "1 [0, 0]",
        "[]",
    ], run.stderr


SHARING = """
import sys, erl
sys.path.insert(0, sys.argv[2])
import utils
executor = erl.connect(sys.argv[1]).executor()
print(set(executor.map(utils.name, range(200), chunksize=1)))
"""


def test_two_programs_with_modules_of_one_name_share_a_pool(pair: erl.Node, tmp_path: Path) -> None:
    programs = []
    for name in ("one", "other"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "utils.py").write_text(
            f"def name(_):\n    return helper()\n\ndef helper():\n    return {name!r}\n"
        )
        programs.append(
            subprocess.Popen(
                [sys.executable, "-c", SHARING, pair.socket, str(directory)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for name, program in zip(("one", "other"), programs, strict=True):
        out, err = program.communicate(timeout=60)
        assert out.strip() == str({name}), err


STOPPED = """
import sys, erl
executor = erl.connect(sys.argv[1]).executor()
futures = [executor.submit(bytes, 1_000_000) for _ in range(600)]
print("sent", flush=True)
print(sum(future.exception() is None for future in futures))
"""


def test_a_program_that_is_stopped_holds_up_nobody_and_goes_on(pair: erl.Node) -> None:
    beam = pair.status()["os_pid"]
    other = subprocess.Popen([sys.executable, "-c", STOPPED, pair.socket], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "sent\n"
    other.send_signal(signal.SIGSTOP)
    try:
        executor = pair.executor(timeout=30)
        assert [executor.submit(pow, each, 2).result() for each in range(300)] == [
            each**2 for each in range(300)
        ]
        resident = int(Path(f"/proc/{beam}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        assert resident < 150_000_000
    finally:
        other.send_signal(signal.SIGCONT)
    out, _ = other.communicate(timeout=120)
    assert out == "600\n"


def test_a_socket_that_others_may_have_made_is_refused(tmp_path: Path) -> None:
    def listening(name: str, mode: int) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        directory.chmod(mode)
        made = socket.socket(socket.AF_UNIX)
        opened.append(made)
        made.bind(str(directory / "sock"))
        (directory / "sock").chmod(0o600)
        made.listen()
        return directory / "sock"

    opened: list[socket.socket] = []
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "own")
    refused = {
        listening("entered", 0o755): "may be entered by others",
        tmp_path / "file": "is no socket",
        tmp_path / "own": "is no socket",
        tmp_path / "none": "there is no socket",
        tmp_path / "link" / "sock": "is no directory",
    }
    listening("own", 0o700)
    if os.geteuid() == 0:
        theirs = listening("theirs", 0o700)
        os.chown(theirs.parent, 65534, 65534)
        refused[theirs] = "belongs to another user"
    tmp_path.chmod(0o700)
    for path, text in refused.items():
        with pytest.raises(NodeError, match=text):
            erl.connect(path)
    for each in opened:
        each.close()


def test_what_answers_in_another_language_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\0\0\0\x0fHTTP/1.1 200 OK")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NodeError):
            erl.connect(path)
        thread.join()


def test_several_pools_of_executors_live_and_end_side_by_side(pair: erl.Node) -> None:
    with (
        pair.executor(max_workers=1) as one,
        pair.executor(max_workers=1) as two,
        pair.executor(timeout=30) as shared,
    ):
        pids = [each.submit(os.getpid).result() for each in (one, two, shared)]
        assert len(set(pids)) == 3
        assert one.submit(time.sleep, 600).kill()
        assert [each.submit(abs, -1).result() for each in (one, two, shared)] == [1, 1, 1]
    eventually(lambda: not any(is_alive(str(pid)) for pid in pids[:2]))
    eventually(lambda: set(pair.pools) == {"default"})
    assert pair.func(abs, -1) == 1
