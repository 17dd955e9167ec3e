"""Functions in boxes: what they are given comes with the call; what they keep the node writes, and believes nothing."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from running import ended, function

import erl
from erl import errors, functions

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = """
import os
from digitalhub_runtime_python import handler


@handler(outputs=["sum", "raw"])
def adds(one, two):
    return one + two, b"\\x00raw"


def works(di, text, project, run, context, event):
    context.logger.info("works")
    with open("/tmp/made.txt", "w") as file:
        file.write("made")
    made = project.log_artifact(name="made", source_path="/tmp/made.txt")
    os.makedirs("/tmp/folder/deep", exist_ok=True)
    with open("/tmp/folder/deep/file", "w") as file:
        file.write("deep")
    project.log_model(name="net", source_path="/tmp/folder", framework="own")
    with open(di.as_file()) as file:
        return file.read() + text, made, run.status.state, event.body["text"]


def returns(value):
    return value


def an_object():
    return object()


def makes_a_function(project):
    project.new_function(name="more", code="x = 1", handler="x")


def forges(type, id, content, said):
    from erl.values import running
    running.boxed.get().kept.append((type.encode(), b"forged", id.encode(), said.encode(), content))


def forges_path(path):
    from erl.values import running
    running.boxed.get().kept.append((b"artifact", b"forged", b"1", b"{}", ([(path.encode(), b"x")],)))


def appends(text):
    with open("/data/file", "a") as file:
        file.write(text)
    with open("/data/file") as file:
        return file.read()


def lists(path):
    return os.path.exists(path)
"""


@pytest.fixture(scope="module")
def own_node(state_dir: Path) -> Iterator[erl.Node]:
    if shutil.which("erl") is None or shutil.which("bwrap") is None:
        pytest.skip("Erlang or bubblewrap is not on PATH")
    pools: Any = {"default": {"size": 1}, "boxed": {"size": 1, "sandbox": erl.Atom("bwrap")}}
    with erl.start(pools, name=str(state_dir), state_dir=state_dir) as running:
        yield running


@pytest.fixture
def project(own_node: erl.Node) -> Any:
    assert own_node.is_up
    return functions.get_or_create_project("demo")


def boxed(project: Any, handler: str, **keywords: Any) -> Any:
    """A run in a box that has ended."""
    return ended(function(project, handler, SOURCE), pool="boxed", **keywords)


def test_results_and_bytes_come_out(project: Any) -> None:
    run = boxed(project, "adds", parameters={"one": 1, "two": 2})
    assert run.results() == {"sum": 3}, run.logs()
    assert run.output("raw").as_object() == b"\x00raw"


def test_inputs_go_in_and_what_is_logged_comes_out(project: Any, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("in-")
    di = project.log_artifact(name="in", source_path=tmp_path / "in.txt")
    run = boxed(project, "works", inputs={"di": di.key}, parameters={"text": "text"})
    assert run.status.state == "COMPLETED", run.logs()
    assert run.results() == {"output_0": "in-text", "output_2": "RUNNING", "output_3": "text"}
    assert run.output("output_1") == project.get_artifact("made")
    assert Path(project.get_artifact("made").as_file()).read_text() == "made"
    net = project.get_model("net")
    assert (net.spec.framework, Path(net.as_file(), "deep", "file").read_text()) == ("own", "deep")
    assert "works" in run.logs()


@pytest.mark.parametrize("value", [(1, 2), {"a": [1, None]}])
def test_values_of_json_go_through(project: Any, value: Any) -> None:
    run = boxed(project, "returns", parameters={"value": value})
    assert list(run.results().values()) == (list(value) if type(value) is tuple else [value])


def test_no_pickle_goes_in_and_none_comes_out(project: Any) -> None:
    run = boxed(project, "returns", parameters={"value": {1, 2}})
    assert run.status.state == "ERROR"
    assert "no pickle goes into a box" in run.status.message
    run = boxed(project, "an_object")
    assert "the output output_0" in run.status.message
    assert "no pickle goes into a box" in run.status.message


def test_a_key_that_is_unknown_is_named(project: Any) -> None:
    run = boxed(
        project, "works", inputs={"di": "store://demo/artifact/artifact/none"}, parameters={"text": ""}
    )
    assert run.status.state == "ERROR"
    assert "the argument di has the key store://demo/artifact/artifact/none" in run.status.message


def test_a_box_makes_no_function(project: Any) -> None:
    run = boxed(project, "makes_a_function")
    assert run.status.message.startswith("erl.errors.EntityError: a box makes no function")
    with pytest.raises(errors.UnknownEntityError):
        project.get_function("more")


def forged(project: Any, **keywords: Any) -> Any:
    return boxed(
        project, "forges", parameters={"type": "artifact", "id": "1", "content": [], "said": "{}", **keywords}
    )


@pytest.mark.parametrize("type_", ["function", "../artifact"])
def test_what_a_box_says_of_a_function_or_a_place_is_refused(
    project: Any, state_dir: Path, type_: str
) -> None:
    run = forged(project, type=type_)
    assert run.status.state == "ERROR"
    assert "what the box has kept is none of" in run.status.message
    assert not list(state_dir.rglob("*forged*"))


@pytest.mark.parametrize("path", ["a/../../evil", "/evil", "a\0b"])
def test_no_path_leads_out_of_a_content(project: Any, state_dir: Path, path: str) -> None:
    run = boxed(project, "forges_path", parameters={"path": path})
    assert run.status.state == "ERROR"
    assert "what the box has kept is none of" in run.status.message
    assert not list(state_dir.rglob("*evil*"))


def test_no_entity_of_others_is_replaced(project: Any, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("own")
    own = project.log_artifact(name="forged", source_path=tmp_path / "own")
    run = boxed(
        project,
        "forges",
        parameters={"type": "artifact", "id": own.id, "content": [], "said": json.dumps(own.to_dict())},
    )
    assert run.status.state == "ERROR"
    assert "forged" in run.status.message
    assert Path(functions.get_entity(own.key).as_file()).read_text() == "own"


def test_what_is_said_wrong_is_an_entity_that_can_not_be_read(project: Any) -> None:
    said = (
        '{"project": "other", "type": "artifact", "name": "forged", "id": "2", "kind": "a", "spec": {}}}, {'
    )
    run = boxed(project, "forges", parameters={"type": "artifact", "id": "2", "content": [], "said": said})
    assert run.status.state == "COMPLETED"
    with pytest.raises(errors.EntityError):
        project.get_artifact("forged", entity_id="2")
    project.delete_artifact("forged", entity_id="2")


def test_volumes_are_kept_between_runs_and_seen_by_no_other_run(project: Any, state_dir: Path) -> None:
    volumes = [{"volume_type": "persistent_volume_claim", "name": "data", "mount_path": "/data"}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert boxed(project, "appends", parameters={"text": "a"}, volumes=volumes).result("output_0") == "a"
        assert boxed(project, "appends", parameters={"text": "b"}, volumes=volumes).result("output_0") == "ab"
    assert (state_dir / "demo" / ".volumes" / "data" / "file").read_text() == "ab"
    assert boxed(project, "lists", parameters={"path": "/data"}).result("output_0") is False
    claimed = [{"name": "v", "mount_path": "/data", "spec": {"claim_name": "data"}}]
    assert boxed(project, "appends", parameters={"text": "c"}, volumes=claimed).result("output_0") == "abc"
    empty = [{"volume_type": "empty_dir", "name": "data", "mount_path": "/data"}]
    assert boxed(project, "appends", parameters={"text": "d"}, volumes=empty).result("output_0") == "d"


@pytest.mark.parametrize("path", ["/usr/data", "/", "/data/../usr", "/proc", "/tmp", "//data"])
def test_a_volume_is_not_mounted_over_what_the_box_is_made_of(project: Any, path: str) -> None:
    with pytest.raises((errors.EntityError, errors.ErlangError)):
        boxed(project, "lists", parameters={"path": "/"}, volumes=[{"name": "data", "mount_path": path}])


def test_outside_of_a_box_volumes_are_a_warning(project: Any) -> None:
    volumes = [{"name": "data", "mount_path": "/data-of-nobody"}]
    with pytest.warns(UserWarning, match="volumes have no effect outside of a box"):
        run = ended(
            function(project, "lists", SOURCE), parameters={"path": "/data-of-nobody"}, volumes=volumes
        )
    assert run.result("output_0") is False
    assert "volumes have no effect" in run.logs()


def test_erlang_begins_one_by_key(project: Any, own_node: erl.Node) -> None:
    key = function(project, "appends", SOURCE).key
    atom = erl.Atom
    options = {
        atom("pool"): atom("boxed"),
        atom("parameters"): {b"text": b"e"},
        atom("volumes"): [{atom("name"): b"erlang", atom("mount_path"): b"/data"}],
    }
    assert own_node.call("py_function", "run", [key.encode(), options]) == ("ok", {b"output_0": b"e"})
