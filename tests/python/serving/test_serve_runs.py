"""Services as runs: states that are kept, an environment, a log; and who dies costs what is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import wheels
from waiting import eventually

import erl
from erl import errors, functions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="uvicorn is not installed: scripts/setup serve")
pytest.importorskip("requests", reason="requests is not installed: scripts/setup serve")

SECONDS = 60.0

SOURCE = """
import os
import sys
import time

def init(context, tea="oolong"):
    print("brewing", tea)
    context.user_data.tea = tea

def told(context, event):
    print("asked for", event.path)
    context.logger.info_with("poured", cups=2)
    if event.path == "/broken":
        raise LookupError("no cup")
    return {"tea": context.user_data.tea, "number": context.worker_id, "os_pid": os.getpid(),
            "level": os.environ.get("LEVEL"), "secret": os.environ.get("TOKEN")}

def whispers(context, event):
    print("it is", os.environ["TOKEN"])
    return "said"

def brewed(context, event):
    import tealeaf
    return {"strength": tealeaf.STRENGTH, "prefix": sys.prefix}

def slow(context, event):
    print("begun")
    time.sleep(1.0)  # what is asked for runs when the service is stopped
    return "done"
"""


@pytest.fixture(scope="module", autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where an environment has its packages from: a directory with one wheel."""
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    directory = tmp_path_factory.mktemp("wheels")
    wheels.write_tealeaf(directory)
    with pytest.MonkeyPatch.context() as patched:
        for switch in ("UV_OFFLINE", "PIP_NO_INDEX"):
            patched.setenv(switch, "1")
        for tool in ("UV", "PIP"):
            patched.setenv(f"{tool}_FIND_LINKS", str(directory))
        yield


@contextmanager
def own_node(state_dir: Path, name: str = "") -> Iterator[erl.Node]:
    with erl.start({"default": {"size": 1}}, name=str(state_dir) + name, state_dir=state_dir) as node:
        yield node


def served(handler: str, run: dict[str, Any] | None = None, **more: Any) -> Any:
    project = functions.get_or_create_project("served")
    function = project.new_function(
        name=handler, kind="python", code=SOURCE, handler=handler, init_function="init", **more
    )
    return function.run("serve", **{"replicas": 1, **(run or {})})


def states(run: Any) -> list[str]:
    return [each["status"] for each in run.refresh().status.transitions]


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def node(state_dir: Path) -> Iterator[erl.Node]:
    with own_node(state_dir) as started:
        yield started


@pytest.fixture(autouse=True)
def _latest(request: pytest.FixtureRequest, state_dir: Path) -> None:
    # Said again, it is the one that is meant where none is named.
    if "node" in request.fixturenames:
        erl.start({"default": {"size": 1}}, name=str(state_dir), state_dir=state_dir)


@pytest.mark.usefixtures("node")
def test_a_service_is_a_run_with_states_and_a_log() -> None:
    asked = {"init_parameters": {"tea": "sencha"}, "envs": [{"name": "LEVEL", "value": "9"}]}
    run = served("told", asked)
    assert states(run) == ["CREATED", "PENDING", "RUNNING"]
    answer = run.invoke().json()
    assert {**answer, "os_pid": 0} == {
        "tea": "sencha",
        "number": 0,
        "os_pid": 0,
        "level": "9",
        "secret": None,
    }
    broken = run.invoke(url="/broken")
    assert broken.status_code == 500
    id_ = broken.json()["id"]
    log = run.logs()
    assert log.startswith("brewing sencha\n")
    assert "asked for /\n" in log
    assert 'INFO erl.serving.handler: poured {"cups": 2}' in log
    assert f"(request {id_})" in log
    assert "LookupError: no cup" in log
    assert "erl/serving" not in log  # what leads to user code is no news

    # The worker that takes the place of another one has its number.
    os.kill(answer["os_pid"], signal.SIGKILL)
    after = eventually(lambda: (said := run.invoke()).status_code == 200 and said.json(), SECONDS)
    assert after["number"] == 0
    assert after["os_pid"] != answer["os_pid"]
    assert run.refresh().status.state == "RUNNING"

    # From its key, and in lists, it is a service.
    again = functions.get_run(run.key)
    assert again.status.service == run.status.service
    assert again.spec.action == "serve"
    assert again.spec.init_parameters == {"tea": "sencha"}
    assert [each.id for each in functions.list_runs("served", state="RUNNING")] == [run.id]
    assert again.invoke(json={"a": 1}).status_code == 200
    assert again.wait().status.state == "RUNNING"

    url = run.status.service["url"]
    assert run.stop().status.state == "STOPPED"
    assert run.stop().status.state == "STOPPED"  # twice
    assert "service" not in run.status
    with pytest.raises(errors.RunError, match="STOPPED"):
        again.invoke()
    retried = again.retry()
    assert retried.status.state == "RUNNING"
    assert retried.status.service == {"url": url}
    assert retried.invoke().json()["tea"] == "sencha"
    again.delete()
    with pytest.raises(errors.EntityError, match=run.id):
        functions.get_run(run.key)


@pytest.mark.usefixtures("node")
def test_replicas_have_the_function_s_environment() -> None:
    run = served("brewed", requirements=["tealeaf==1.0"])
    assert states(run)[-1] == "RUNNING", run.status
    answer = run.invoke().json()
    assert answer["strength"] == 3
    assert answer["prefix"] != sys.prefix
    run.stop()
    bad = served("brewed", requirements=["no-such-tea"])
    assert bad.status.state == "ERROR"
    assert "no-such-tea" in bad.status.message


@pytest.mark.usefixtures("node")
def test_a_secret_is_in_the_replica_and_not_in_the_log(state_dir: Path) -> None:
    (state_dir / "secrets").mkdir(mode=0o700, exist_ok=True)
    secret = state_dir / "secrets" / "TOKEN"
    secret.write_text("darjeeling\n")
    secret.chmod(0o600)
    run = served("whispers", {"secrets": ["TOKEN"]})
    assert run.invoke().text == "said"
    assert "it is ***\n" in run.logs()
    run.stop()
    secret.chmod(0o644)
    refused = served("whispers", {"secrets": ["TOKEN"]})
    assert refused.status.state == "ERROR"
    assert "others may read it" in refused.status.message


@pytest.mark.usefixtures("node")
def test_what_can_not_start_is_an_error_with_its_traceback_in_the_log() -> None:
    run = served("told", {"init_parameters": {"milk": 1}})
    assert run.status.state == "ERROR"
    assert "Init function parameters mismatch. Expected: ['tea'], Got: ['milk']" in run.status.message
    assert "Traceback (most recent call last)" in run.logs()
    with pytest.raises(errors.EntityError, match="there is no pool"):
        served("told", {"pool": "teapot"})


@pytest.mark.usefixtures("node")
def test_a_run_with_the_key_of_one_that_serves_is_that_one() -> None:
    first = served("told", {"key": "tea-time"})
    assert served("told", {"key": "tea-time"}).id == first.id
    first.stop()


def test_what_is_open_when_it_is_stopped_is_answered(node: erl.Node) -> None:
    from concurrent.futures import ThreadPoolExecutor

    run = served("slow", {"replicas": 2})
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(run.invoke) for _ in range(4)]
        # Two run; the others wait in the queue, or are refused as the service drains.
        eventually(lambda: run.logs().count("begun") == 2, SECONDS)
        assert run.stop().status.state == "STOPPED"
        statuses = sorted(each.result().status_code for each in answers)
    assert statuses[:2] == [200, 200]
    assert set(statuses) <= {200, 503}
    assert node.is_up


def test_the_service_of_a_program_s_own_node_ends_with_it(tmp_path: Path) -> None:
    with own_node(tmp_path, "1") as first:
        run = served("told")
        beam = first.status()["os_pid"]
        os.kill(beam, signal.SIGKILL)
        eventually(lambda: not first.is_up, SECONDS)
    with own_node(tmp_path, "2"):
        lost = functions.get_run(run.key)
        assert lost.status.state == "ERROR"
        assert lost.status.message.startswith("interrupted")


@contextmanager
def standing(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A node that programs join."""
    pools = state_dir / "pools.json"
    pools.write_text('{"default": {"size": 1}}')
    command = [sys.executable, "-m", "erl", "node", "--state-dir", str(state_dir), "--pools", str(pools)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while "serves at" not in (line := process.stderr.readline()):
            assert line, "it has not started"
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def test_a_node_that_is_started_again_has_its_services_again(tmp_path: Path) -> None:
    with standing(tmp_path):
        node = erl.connect(tmp_path / "node.sock")
        run = served("told", {"init_parameters": {"tea": "assam"}})
        key, url = run.key, run.status.service["url"]
        stopped = served("told")
        stopped.stop()
        os.kill(node.status()["os_pid"], signal.SIGKILL)
        eventually(lambda: not node.is_up, SECONDS)
    with standing(tmp_path):
        erl.connect(tmp_path / "node.sock")
        again = functions.get_run(key)
        eventually(lambda: again.refresh().status.state == "RUNNING", SECONDS)
        assert again.status.service == {"url": url}
        assert again.invoke().json()["tea"] == "assam"
        assert functions.get_run(stopped.key).status.state == "STOPPED"
