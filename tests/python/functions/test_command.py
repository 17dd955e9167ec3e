"""`python -m erl functions`, as a shell runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from running import function

import erl

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import sys

def adds(one, other=2):
    print("adds")
    return one + other

def fails():
    sys.exit("no tea")
"""


def said(node: erl.Node, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "erl", "functions", arguments[0], "--connect", node.socket, *arguments[1:]],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_runs_are_begun_listed_read_and_stopped(own_node: erl.Node, project: Any) -> None:
    made = function(project, "adds", SOURCE)
    key = said(own_node, "run", made.key, "-p", "one=5").strip()
    assert said(own_node, "run", "demo/adds", "-p", "one=5", "--wait", "--env", "A=1").splitlines()[1:] == [
        "output_0 = 7"
    ]
    assert erl.functions.runs.get_run(key).wait(60).result("output_0") == 7
    assert said(own_node, "logs", key) == "adds\n"
    listed = said(
        own_node, "runs", "--project", "demo", "--function", "adds", "--state", "COMPLETED"
    ).splitlines()
    assert len(listed) == 2
    assert listed[0].startswith(f"{key}  adds  COMPLETED")
    assert said(own_node, "stop", key).strip() == f"{key} COMPLETED"


def test_a_node_of_python_m_erl_node_runs_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-m", "erl", "node", "--state-dir", str(state)]
    served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert served.stderr is not None
        assert "serves at" in served.stderr.readline()
        with erl.connect(state / "node.sock"):
            made = function(erl.functions.get_or_create_project("demo"), "adds", SOURCE)
            run = made.run(parameters={"one": 5})
            assert run.wait(60).results() == {"output_0": 7}
        # Who comes later finds it.
        with erl.connect(state / "node.sock"):
            assert erl.functions.get_run(run.key).logs() == "adds\n"
    finally:
        served.terminate()
        served.communicate(timeout=60)


def test_json(own_node: erl.Node, project: Any) -> None:
    made = function(project, "adds", SOURCE)
    ran = json.loads(said(own_node, "run", made.key, "-p", "one=1", "--wait", "--json"))
    assert (ran["results"], ran["status"]["state"]) == ({"output_0": 3}, "COMPLETED")
    assert ran["key"] in {each["key"] for each in json.loads(said(own_node, "runs", "--json"))}


def test_what_fails_is_said_by_the_status(own_node: erl.Node, project: Any) -> None:
    function(project, "fails", SOURCE)
    assert "ERROR: builtins.SystemExit: no tea" in said(own_node, "run", "demo/fails", "--wait", status=1)
    assert "there is no function" in said(own_node, "run", "demo/none", status=1)
    assert "is not NAME=VALUE" in said(own_node, "run", "demo/fails", "-p", "x", status=1)
    assert "erl functions:" in said(own_node, "logs", "none", status=1)
    assert "usage:" in said(own_node, "nothing", status=2)
