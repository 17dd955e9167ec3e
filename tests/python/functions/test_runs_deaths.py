"""What dies or misbehaves while functions run: it costs that run, and is said; nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from running import ended, function

import erl
from erl import errors, functions
from erl.functions import runs

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import os, signal, sys, time, threading

def values(value):
    return value

def exits():
    print("printed before", flush=True)
    os.write(2, b"the last words\\n")
    os._exit(3)

def segfaults():
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)  # the signal ends it

def grows():
    return len([bytes(1 << 20) for _ in range(600)])

def raises(text):
    raise LookupError(text)

def leaves():
    sys.exit("done with it")

class TeaError(Exception):
    pass

def raises_own():
    raise TeaError("cold")

def unpicklable():
    return threading.Lock()

class Evil:
    def __reduce__(self):
        return (int, ("no number",))

def evil():
    return Evil()

class Refusing:
    def __reduce__(self):
        raise ValueError("no pickle of me")

def refusing():
    return Refusing()

def fills(limit):
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return bytes(4 * limit)

def spoils():
    import builtins
    builtins.print = None
    sys.stdout.close()
    sys.stdout = None
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    if os.fork() == 0:
        return "the child"
    return os.getpid()

def waits_for(path, value):
    with open(path + ".begun", "a") as file:
        file.write("begun\\n")
    while not os.path.exists(path):
        time.sleep(0.01)  # the pause between two looks
    return value

def fails_first(path):
    with open(path, "a+") as file:
        file.write("x")
        file.seek(0)
        if len(file.read()) < 3:
            raise RuntimeError("not yet")
    return "now"
"""

STATE_SECONDS = 60


def until(condition: Any) -> None:
    deadline = time.monotonic() + STATE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # the pause between two looks


def begun(path: Path, times: int = 1) -> bool:
    file = path.with_name(path.name + ".begun")
    return file.exists() and len(file.read_text().splitlines()) >= times


def test_a_worker_that_dies_is_an_error_with_its_last_words(project: Any) -> None:
    exits = ended(function(project, "exits", SOURCE))
    assert exits.status.state == "ERROR"
    assert "exit status 3" in exits.status.message
    assert "the last words" in exits.status.message
    assert "printed before" in exits.logs()
    segfaults = ended(function(project, "segfaults", SOURCE))
    assert segfaults.status.state == "ERROR"
    assert "segmentation fault" in segfaults.status.message
    assert "in segfaults" in segfaults.logs()


def test_others_are_not_affected(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "go"
    other = function(project, "waits_for", SOURCE).run(parameters={"path": str(path), "value": 5})
    until(lambda: begun(path))
    assert ended(function(project, "exits", SOURCE)).status.state == "ERROR"
    path.touch()
    assert other.wait(60).results() == {"output_0": 5}


def test_memory_beyond_the_limit(project: Any) -> None:
    run = ended(function(project, "grows", SOURCE), resources={"mem": "200Mi"})
    assert run.status.state == "ERROR"
    assert run.status.message.startswith("builtins.MemoryError")
    assert "bytes(1 << 20)" in run.logs()
    assert ended(function(project, "grows", SOURCE)).results() == {"output_0": 600}


def test_what_raises_is_an_error_with_class_text_and_lines(project: Any) -> None:
    run = ended(function(project, "raises", SOURCE), parameters={"text": "no tea"})
    assert (run.status.state, run.status.message) == ("ERROR", "builtins.LookupError: no tea")
    assert "in raises\n    raise LookupError(text)\nLookupError: no tea\n" in run.logs()
    own = ended(function(project, "raises_own", SOURCE))
    assert own.status.message == "main.TeaError: cold"
    assert own.logs().endswith("\nmain.TeaError: cold\n")
    left = ended(function(project, "leaves", SOURCE))
    assert (left.status.state, left.status.message) == ("ERROR", "builtins.SystemExit: done with it")


def test_a_result_that_can_t_be_kept_is_an_error_with_its_name(project: Any) -> None:
    run = ended(function(project, "unpicklable", SOURCE))
    assert run.status.state == "ERROR"
    assert "output_0" in run.status.message
    assert "can't be pickled" in run.status.message
    # A class of the source's own is no other case, whatever its code raises.
    refused = ended(function(project, "refusing", SOURCE))
    assert refused.status.message == (
        "erl.errors.NotPicklableError: the output output_0: a Refusing can't be pickled: ValueError: no pickle of me"
    )
    # Where there is no room for it: as on a full disk, a write fails.
    full = ended(
        function(project, "fills", SOURCE), parameters={"limit": 1 << 16}, envs=[{"name": "A", "value": ""}]
    )
    assert full.status.state == "ERROR"
    assert "output_0" in full.status.message
    assert project.list_artifacts() == []
    assert ended(function(project, "values", SOURCE), parameters={"value": 1}).results() == {"output_0": 1}


def test_a_result_whose_reading_raises_costs_its_reader(project: Any) -> None:
    run = ended(function(project, "evil", SOURCE))
    artifact = run.output("output_0")
    with pytest.raises(errors.DecodeError, match="no number"):
        artifact.as_object()
    artifact.delete()


def test_a_hostile_handler_leaves_the_next_one_alone(project: Any) -> None:
    first = ended(function(project, "spoils", SOURCE))
    assert first.status.state == "COMPLETED", first.logs()
    assert first.result("output_0") == first_process(first)
    code = "def prints():\n    print('fine')\n    return 1\n"
    for _ in range(2):  # on both workers
        run = ended(function(project, "prints", code))
        assert (run.results(), run.logs()) == ({"output_0": 1}, "fine\n")


def first_process(run: Any) -> int:
    from erl.functions import nodes

    os_pid: int = nodes.call("py_run", "get", [run.id.encode()])["process"]["os_pid"]
    return os_pid


def test_two_runs_of_one_function_at_once(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "go"
    made = function(project, "waits_for", SOURCE)
    both = [made.run(parameters={"path": str(path), "value": value}) for value in (1, 2)]
    until(lambda: begun(path, 2))
    assert [run.refresh().status.state for run in both] == ["RUNNING", "RUNNING"]
    path.touch()
    assert [run.wait(60).result("output_0") for run in both] == [1, 2]


def test_a_function_that_is_deleted_while_its_run_waits(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "go"
    made = function(project, "waits_for", SOURCE)
    holding = [made.run(parameters={"path": str(path), "value": value}) for value in (1, 2)]
    until(lambda: begun(path, 2))
    gone = function(project, "values", SOURCE + "# another one\n")
    run = gone.run(parameters={"value": 1})
    gone.delete()
    path.touch()
    assert run.wait(60).status.state == "ERROR"
    assert gone.key in run.status.message
    assert [each.wait(60).status.state for each in holding] == ["COMPLETED", "COMPLETED"]


def test_retries_are_made_and_a_failed_run_is_retried_by_hand(project: Any, tmp_path: Path) -> None:
    made = function(project, "fails_first", SOURCE)
    run = ended(made, parameters={"path": str(tmp_path / "a")}, backoff_limit=5)
    assert (run.results(), run.status.attempt) == ({"output_0": "now"}, 3)
    assert run.logs().count("RuntimeError: not yet") == 2
    by_hand = ended(made, parameters={"path": str(tmp_path / "b")})
    assert by_hand.status.state == "ERROR"
    assert by_hand.retry().wait(60).status.state == "ERROR"
    assert by_hand.retry().wait(60).results() == {"output_0": "now"}
    with pytest.raises(errors.EntityError):
        by_hand.retry()


def test_a_run_is_stopped(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "go"
    run = function(project, "waits_for", SOURCE).run(parameters={"path": str(path), "value": 1})
    until(lambda: begun(path))
    with pytest.raises(errors.AnswerTimeoutError):
        run.wait(0.01)
    assert run.stop().status.state == "STOPPED"
    assert run.stop().status.state == "STOPPED"
    with pytest.raises(errors.RunError, match="STOPPED"):
        run.results()
    path.touch()
    assert run.retry().wait(60).results() == {"output_0": 1}


def test_a_timeout_ends_an_attempt(project: Any, tmp_path: Path) -> None:
    path = tmp_path / "never"
    run = ended(function(project, "waits_for", SOURCE), parameters={"path": str(path), "value": 1}, timeout=1)
    assert run.status.state == "ERROR"
    assert "timeout" in run.status.message or "time" in run.status.message


def test_a_second_run_with_a_key_is_the_first_unless_that_has_failed(project: Any, tmp_path: Path) -> None:
    made = function(project, "values", SOURCE)
    first = ended(made, parameters={"value": 1}, key=["orders", 27])
    assert made.run(parameters={"value": 2}, key=["orders", 27]) == first
    assert made.run(parameters={"value": 2}, key=["orders", 28]).wait(60).result("output_0") == 2
    # One that was lost is in nobody's way.
    exits = function(project, "exits", SOURCE)
    lost = ended(exits, key="lost")
    assert made.run(parameters={"value": 3}, key="lost").wait(60).result("output_0") == 3
    assert lost.refresh().status.state == "ERROR"


def test_runs_are_pruned(project: Any) -> None:
    made = function(project, "values", SOURCE)
    run = ended(made, parameters={"value": 1})
    assert runs.prune_runs(project, made) >= 1
    assert runs.list_runs(project, made) == []
    with pytest.raises(errors.EntityError):
        run.refresh()


PROGRAM = """
import sys
import erl
from erl import functions

erl.connect(sys.argv[1])
project = functions.get_or_create_project("demo")
made = project.new_function(name="waits", kind="python", code=sys.argv[2], handler="waits_for")
print(made.run(parameters={"path": sys.argv[3], "value": 7}).key, flush=True)
sys.stdin.read()
"""


def test_a_program_that_is_killed_between_run_and_wait(
    own_node: erl.Node, project: Any, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    command = [sys.executable, "-c", PROGRAM, own_node.socket, SOURCE, str(path)]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    key = program.stdout.readline().strip()
    program.kill()
    program.communicate()
    run = runs.get_run(key)
    assert run.project == project.name
    path.touch()
    assert run.wait(60).results() == {"output_0": 7}


def test_a_node_that_is_killed_goes_on_with_its_runs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    path = tmp_path / "go"
    pools = {"default": {"size": 2}}
    node = erl.start(pools, name="killed", state_dir=state)
    try:
        made = function(functions.get_or_create_project("demo"), "waits_for", SOURCE)
        again = made.run(parameters={"path": str(path), "value": 1}, retries=3)
        lost = made.run(parameters={"path": str(path), "value": 2})
        until(lambda: begun(path, 2))
        kept = made.run(parameters={"path": str(path), "value": 3})
        os.kill(node.status()["os_pid"], signal.SIGKILL)
        until(lambda: not node.is_up)
    finally:
        node.stop()
    path.touch()
    with erl.start(pools, name="killed", state_dir=state):
        assert again.wait(60).results() == {"output_0": 1}
        assert kept.wait(60).results() == {"output_0": 3}
        assert lost.wait(60).status.state in ("ERROR", "COMPLETED")
        if lost.status.state == "ERROR":
            assert "interrupted" in lost.status.message
