"""Functions as services: the document's program as it stands, a model that a job has trained, what can't be served."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

import erl
from erl import errors, functions

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("uvicorn", reason="uvicorn is not installed: scripts/setup serve")
pytest.importorskip("requests", reason="requests is not installed: scripts/setup serve")

pytestmark = pytest.mark.filterwarnings("ignore:Python 3.10 is not here")

SOURCE = """
import json
import tempfile
from pathlib import Path

def init(context, param1, param2):
    context.user_data.sum = param1 + param2

def func(context, event):
    return {"given": event.body, "sum": context.user_data.sum}

def train(project, values):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.json")
        path.write_text(json.dumps({"mean": sum(values) / len(values)}))
        project.log_artifact(name="model", kind="artifact", source_path=path)

def load(context, path):
    context.user_data.model = json.loads(Path(path).read_text())

def above(context, value: float):
    return {"above": value > context.user_data.model["mean"]}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    state_dir = tmp_path_factory.mktemp("state")
    with erl.start({"default": {"size": 1}}, name=str(state_dir), state_dir=state_dir):
        yield functions.get_or_create_project("served")


def made(project: Any, handler: str, **more: Any) -> Any:
    return project.new_function(
        name=f"python-{handler}",
        kind="python",
        code=SOURCE,
        handler=handler,
        python_version="PYTHON3_10",
        **more,
    )


def test_the_documents_program_serves_as_it_stands(project: Any) -> None:
    function = made(project, "func", init_function="init")
    data = [1, 2]
    run = function.run(action="serve", init_parameters={"param1": 1, "param2": 2}, replicas=2)

    run.refresh()
    assert run.status.state == "RUNNING"
    assert list(run.status.service) == ["url"]
    json = {"some-func-param": data}
    answer = run.invoke(method="POST", json=json)
    assert answer.status_code == 200
    assert answer.json() == {"given": json, "sum": 3}

    # Without a body it is GET; a path and the service's own URL are asked, no other.
    assert run.invoke().request.method == "GET"
    assert run.invoke(url="/there").status_code == 200
    assert run.invoke(url=run.status.service["url"] + "/there", params={"a": "b"}).url.endswith("/there?a=b")
    for foreign in ("http://example.org/", "//example.org/", "http://127.0.0.1:1/", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="none of this service's URLs"):
            run.invoke(url=foreign)

    assert run.stop().status.state == "STOPPED"
    with pytest.raises(errors.RunError, match="does not run"):
        run.invoke()


def test_a_model_that_a_job_has_trained_is_served(project: Any) -> None:
    trained = made(project, "train").run(action="job", parameters={"values": [1, 2, 3]}, wait=True)
    assert trained.status.state == "COMPLETED", trained.status
    path = project.get_artifact("model").as_file()
    run = made(project, "above", init_function="load").run(
        "serve", init_parameters={"path": path}, replicas=1
    )
    assert run.status.state == "RUNNING", run.status
    assert run.invoke(json={"value": 5}).json() == {"above": True}
    assert run.invoke(json={"value": 1}).json() == {"above": False}
    assert run.invoke(json={"valve": 1}).status_code == 422
    run.stop()


def test_what_can_not_be_served_is_an_error_that_says_why(project: Any) -> None:
    run = made(project, "func", init_function="init").run("serve", init_parameters={"param1": 1})
    assert run.status.state == "ERROR"
    assert (
        "Init function parameters mismatch. Expected: ['param1', 'param2'], Got: ['param1']"
        in run.status.message
    )
    with pytest.raises(ValueError, match="come with each request"):
        made(project, "func").run("serve", parameters={"a": 1})
    with pytest.raises(ValueError, match="threads"):
        made(project, "func").run("serve", threads=0)
    with pytest.raises(TypeError, match="thread"):
        made(project, "func").run("serve", thread=2)
    with pytest.raises(ValueError, match="token_file"):
        made(project, "func").run("serve", ip="0.0.0.0")


def test_without_uvicorn_the_error_names_the_extra(project: Any, tmp_path: Any) -> None:
    # As where it is not installed: what stands first on the path is what an import finds.
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError('uvicorn', name='uvicorn')")
    path = [{"name": "PYTHONPATH", "value": str(tmp_path)}]
    run = made(project, "func").run("serve", envs=path)
    assert run.status.state == "ERROR"
    assert "erl-bridge[serve]" in run.status.message
