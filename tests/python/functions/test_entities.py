"""Projects and what is in them, by the API of programs and of runs in workers: made, found, listed, deleted."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import erl
from erl import errors, functions
from erl.functions import store
from erl.link.node import Node

ID = "11111111-2222-4333-8444-555555555555"
HOSTILE = ["", ".", "..", "a/b", "A", "-a", "a_b", "a\n", "a\0", "é", "a" * 64, "a b", 7, None, b"a"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    if shutil.which("erl") is None:
        pytest.skip("Erlang is not on PATH")
    place = tmp_path_factory.mktemp("node")
    with erl.start({"default": {"size": 1}}, name="entities", state_dir=place / "state") as started:
        yield started


@pytest.fixture
def state(node: Node) -> Path:
    """Where they are kept."""
    return Path(node.socket).parent


@pytest.fixture
def project(node: Node, request: pytest.FixtureRequest) -> functions.Project:
    name = request.node.originalname.replace("_", "-")[-60:].strip("-")
    return functions.get_or_create_project(name)


def left(state: Path) -> list[str]:
    return os.listdir(state / "incoming")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# Functions


def test_a_function_is_kept_with_its_source_and_what_was_said(
    project: functions.Project, state: Path
) -> None:
    function = project.new_function(
        name="f",
        kind="python",
        code="def main(x): return x + 1\n",
        handler="main",
        init_function="init",
        python_version=f"PYTHON3_{sys.version_info[1]}",
        requirements=["numpy", "pandas>1, <3"],
        base_image="python:3.11",
        image="mine:1",
        uuid=ID,
        description="adds",
        labels=["a", "b"],
        lang="python",
        embedded=False,
    )
    assert function.key == f"store://{project.name}/function/python/f:{ID}"
    assert (function.name, function.kind, function.id, function.uuid) == ("f", "python", ID, ID)
    assert function.project == project.name
    assert function.spec.requirements == ["numpy", "pandas>1, <3"]
    assert (function.handler, function.spec.init_function, function.spec["base_image"]) == (
        "main",
        "init",
        "python:3.11",
    )
    assert (function.spec.image, function.spec.lang) == ("mine:1", "python")
    assert function.spec.python == f"3.{sys.version_info[1]}"
    assert (function.metadata.description, function.metadata.labels) == ("adds", ["a", "b"])
    assert function.metadata.embedded is False
    assert functions.loading.load(function.directory, function.hash, function.handler)(1) == 2
    place = state / project.name / "function" / "f" / ID
    assert sorted(os.listdir(place)) == ["content", "entity.json"]
    assert function.directory == str(place / "content")
    said = json.loads((place / "entity.json").read_text())
    assert (said["format"], said["entity"]["key"]) == (1, function.key)
    assert {mode(each) for each in (place, place.parent, place / "content", state)} == {0o700}
    assert (mode(place / "entity.json"), mode(place / "content" / "main.py")) == (0o600, 0o400)
    assert (
        project.get_function("f")
        == functions.get_function(function.key)
        == functions.get_entity(function.key)
    )
    assert project.get_function("f").to_dict() == function.to_dict()
    assert pickle.loads(pickle.dumps(function)) == function
    assert left(state) == []


def test_what_must_be_provided(project: functions.Project, tmp_path: Path) -> None:
    with pytest.raises(errors.EntityError, match=r"^Handler must be provided\.$"):
        project.new_function(name="f", kind="python", code="x = 1")
    with pytest.raises(errors.EntityError, match=r"^Source must be provided\.$"):
        project.new_function(name="f", kind="python", handler="f")
    with pytest.raises(errors.EntityError, match="does not exist"):
        project.new_function(name="f", kind="python", code_src=str(tmp_path / "no.py"), handler="f")
    with pytest.raises(errors.EntityError, match="is python"):
        project.new_function(name="f", kind="dbt", code="x = 1", handler="f")
    with pytest.raises(errors.EntityError, match="needs a project"):
        functions.new_function(name="f", kind="python", code="x = 1", handler="f")
    with pytest.raises(errors.UnknownEntityError, match="project no-such"):
        functions.new_function(project="no-such", name="f", kind="python", code="x = 1", handler="f")
    with pytest.raises(errors.EntityError, match="list of texts"):
        project.new_function(name="f", code="x = 1", handler="f", requirements="numpy")
    assert project.list_functions() == []


def test_versions_of_python(project: functions.Project) -> None:
    def version(asked: Any) -> str:
        found: str = project.new_function(
            name="f", code="x = 1", handler="f", python_version=asked
        ).spec.python
        return found

    own = sys.version_info[1]
    assert version(None) == version(f"PYTHON3_{own}") == f"3.{own}"
    with pytest.warns(UserWarning, match=r"Python 3\.9 is not here"):
        assert int(version("PYTHON3_9").partition(".")[2]) >= 10
    with pytest.raises(errors.EntityError, match=f"newer than all that are here: .*PYTHON3_{own}"):
        version("PYTHON3_99")
    for asked in ("3", "PYTHON2_7", "PYTHON3_", 3.11, "PYTHON3_11; x"):
        with pytest.raises(errors.EntityError, match="PYTHON3_9, PYTHON3_10"):
            version(asked)


def test_versions_of_a_function_are_found_listed_and_deleted(project: functions.Project, state: Path) -> None:
    made = [project.new_function(name="f", code=f"x = {number}", handler="x") for number in range(3)]
    other = project.new_function(name="g", code="x = 1", handler="x")
    assert project.get_function("f") == made[2]
    assert project.get_function("f", entity_id=made[0].id) == made[0]
    assert project.get_function_versions("f") == made
    assert project.list_functions() == [made[2], other]
    assert functions.get_function(made[0].key.rpartition(":")[0]) == made[2]
    for by_key in (project.get_model, project.get_model_versions, project.delete_model):
        with pytest.raises(errors.EntityError, match="is the key of a function, not of a model"):
            by_key(made[0].key)
    project.delete_function(made[2].key)
    assert project.get_function("f") == made[1]
    with pytest.raises(errors.UnknownEntityError):
        project.get_function("f", entity_id=made[2].id)
    with pytest.raises(errors.UnknownEntityError):
        made[2].refresh()
    project.delete_function("f", entity_id=made[0].id)
    project.delete_function("f")
    with pytest.raises(errors.UnknownEntityError, match="there is no function f in the project"):
        project.delete_function("f")
    assert project.list_functions() == [other]
    assert os.listdir(state / project.name / "function") == ["g"]
    assert left(state) == []


def test_an_id_is_given_once(project: functions.Project, state: Path) -> None:
    project.new_function(name="f", code="x = 1", handler="x", uuid=ID)
    with pytest.raises(errors.EntityExistsError, match="one already"):
        project.new_function(name="f", code="x = 2", handler="x", uuid=ID)
    for wrong in ("7", "../../x", 7, "g" * 36):
        with pytest.raises(errors.EntityError, match="uuid"):
            project.new_function(name="f", code="x = 2", handler="x", uuid=wrong)
    assert left(state) == []


# Names and keys


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_name_is_refused_everywhere(project: functions.Project, name: Any, state: Path) -> None:
    before = sorted(os.listdir(state))
    calls: list[Any] = [
        lambda: functions.get_or_create_project(name),
        lambda: functions.get_project(name),
        lambda: functions.delete_project(name),
        lambda: functions.list_functions(name),
        lambda: project.new_function(name=name, code="x = 1", handler="x"),
        lambda: project.get_function(name),
        lambda: project.delete_function(name),
        lambda: project.log_artifact(name=name, source_path=__file__),
        lambda: project.log_artifact(name="a", kind=name, source_path=__file__),
        lambda: functions.get_entity(f"store://{name}/artifact/artifact/a:1"),
        lambda: functions.get_entity(f"store://demo/artifact/artifact/a:{name}/.."),
    ]
    for call in calls:
        with pytest.raises(errors.EntityError):
            call()
    if isinstance(name, str):
        with pytest.raises(errors.EntityError):
            store.nodes.call("py_entity", "delete", [name.encode(), b"", b"", b""])
        with pytest.raises(errors.EntityError):
            store.nodes.call("py_entity", "put", [b"demo", b"artifact", name.encode(), b"1", b"{}", b""])
    assert sorted(os.listdir(state)) == before


def test_a_project_is_no_file_of_the_store(node: Node, state: Path) -> None:
    for name in ("lock", "key", "journal", "runs", "envs", "incoming", "secrets"):
        with pytest.raises(errors.EntityError, match="can't be called"):
            functions.get_or_create_project(name)
        with pytest.raises(errors.EntityError):
            store.nodes.call("py_entity", "delete", [name.encode(), b"", b"", b""])
    assert {"lock", "journal", "runs"} <= set(os.listdir(state))


def test_what_is_named_as_content_is_of_its_place(project: functions.Project, state: Path) -> None:
    (state / "1-1-1-aa").mkdir()
    (state / "1-1-1-aa" / "content").write_text("x")
    for name in (b"../1-1-1-aa", b"..", b".", b"1-1-1-bb", b"../runs", b"1-1-1-aa\n"):
        with pytest.raises(errors.EntityError):
            store.nodes.call(
                "py_entity", "put", [project.name.encode(), b"artifact", b"a", b"1", b"{}", name]
            )
    assert (state / "1-1-1-aa" / "content").exists()
    assert project.list_artifacts() == []


# Artifacts, models, data items


def test_a_file_is_kept_as_it_was(project: functions.Project, tmp_path: Path, state: Path) -> None:
    file = tmp_path / "some data.csv"
    file.write_bytes(b"a,b\r\n1,2\r\n")
    artifact = project.log_artifact(name="example", kind="artifact", source_path=str(file))
    file.write_bytes(b"other")
    assert artifact.key == f"store://{project.name}/artifact/artifact/example:{artifact.id}"
    assert Path(artifact.as_file()).read_bytes() == b"a,b\r\n1,2\r\n"
    assert (artifact.spec.file_name, artifact.spec.size) == ("some data.csv", 10)
    copy = artifact.as_file(tmp_path / "copy")
    assert Path(copy).read_bytes() == b"a,b\r\n1,2\r\n"
    (tmp_path / "into").mkdir()
    assert artifact.download(str(tmp_path / "into")) == str(tmp_path / "into" / "some data.csv")
    with pytest.raises(errors.EntityError, match="there already"):
        artifact.download(str(tmp_path / "into"))
    assert project.get_artifact("example") == artifact
    assert left(state) == []


def test_a_folder_is_kept_with_what_is_in_it(project: functions.Project, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(1000))
    (folder / "deep" / "more").write_text("x")
    model = project.log_model(
        name="m", kind="sklearn", source_path=folder, framework="sklearn", metrics={"f1": 0.5}
    )
    assert model.key == f"store://{project.name}/model/sklearn/m:{model.id}"
    assert (model.spec.framework, model.spec.metrics, model.spec.size) == ("sklearn", {"f1": 0.5}, 1001)
    assert sorted(path.name for path in Path(model.as_file()).rglob("*")) == ["deep", "more", "weights.bin"]
    assert project.get_model("m").spec == model.spec
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(errors.EntityError, match="is a link"):
        project.log_model(name="m", source_path=folder)
    project.delete_model("m")
    assert project.list_models() == []


def test_what_is_no_file_and_what_can_not_be_said_is_refused(
    project: functions.Project, tmp_path: Path, state: Path
) -> None:
    for given in (
        {},
        {"source_path": "/no/such"},
        {"source_path": "s3://u:p@b/k"},
        {"source_path": "/dev/null"},
    ):
        with pytest.raises(errors.EntityError) as raised:
            project.log_artifact(name="a", **given)
        assert "u:p" not in str(raised.value)
    file = tmp_path / "file"
    file.write_text("x")
    for said in (
        {"more": object()},
        {"more": float("nan")},
        {"more": "\ud800"},
        {"more": "x" * (2 << 20)},
        {"labels": "x"},
    ):
        with pytest.raises(errors.EntityError):
            project.log_artifact(name="a", source_path=file, **said)
    with pytest.raises(errors.EntityError, match="name one"):
        project.log_artifact(name="a", source_path=file, path=file)
    assert project.list_artifacts() == []
    assert left(state) == []


def test_data_frames_come_back_as_they_were(project: functions.Project) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "t": pandas.to_datetime(["2024-01-01", None])})
    item = project.log_dataitem(name="data", kind="table", data=frame)
    assert item.key == f"store://{project.name}/dataitem/table/data:{item.id}"
    assert (item.spec.file_format, item.spec.engine) == ("parquet", "pandas")
    pandas.testing.assert_frame_equal(item.as_df(), frame)
    pandas.testing.assert_frame_equal(project.new_dataitem("data", data=frame).as_df(), frame)
    with pytest.raises(errors.EntityError, match=r"not builtins\.list"):
        project.log_dataitem(name="data", data=[1])
    with pytest.raises(errors.EntityError, match="Parquet"):
        project.log_dataitem(name="data", data=pandas.DataFrame({"a": [object()]}))
    assert len(project.list_dataitems()) == 1


def test_data_frames_without_pyarrow_come_back_with_their_types(
    project: functions.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pandas = pytest.importorskip("pandas")
    from erl.functions import data

    monkeypatch.setattr(data, "_has", lambda _: False)
    frame = pandas.DataFrame(
        {
            "i": pandas.Series([1, 2**62], dtype="int64"),
            "u": pandas.Series([0, 255], dtype="uint8"),
            "f": [float("nan"), float("inf")],
            "b": [True, False],
            "t": pandas.Series(pandas.to_datetime(["2024-01-01T01:02:03.000000004", None])).astype(
                "datetime64[ns]"
            ),
            "z": pandas.Series(pandas.to_datetime(["2024-07-01", "2024-01-01"])).dt.tz_localize(
                "Europe/Zurich"
            ),
            "d": pandas.Series(pandas.to_timedelta(["1 day", None])),
            "o": pandas.Series(["x", None], dtype=object),
        }
    )
    item = project.log_dataitem(name="data", data=frame)
    assert item.spec.file_format == "table"
    pandas.testing.assert_frame_equal(item.as_df(), frame)
    named = frame.set_axis(["r1", "r2"])
    pandas.testing.assert_frame_equal(project.log_dataitem(name="data", data=named).as_df(), named)
    for wrong in (
        pandas.DataFrame({"a": [object()]}),
        pandas.DataFrame({1: [1]}),
        frame.set_index(["i", "u"]),
    ):
        with pytest.raises(errors.EntityError):
            project.log_dataitem(name="wrong", data=wrong)


def test_files_are_read_as_their_names_end(project: functions.Project, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    for name in ("a.csv", "a.jsonl", "a.tsv"):
        item = project.new_dataitem(name="file", path=str(tmp_path / name))
        pandas.testing.assert_frame_equal(item.as_df(), frame)
    (tmp_path / "odd").write_text("a\n1\n2\n")
    item = project.new_dataitem(name="odd", path=tmp_path / "odd")
    with pytest.raises(errors.EntityError, match="file_format"):
        item.as_df()
    pandas.testing.assert_frame_equal(item.as_df(file_format="csv"), frame)


# What is found damaged


def test_one_that_can_not_be_read_costs_itself_alone(project: functions.Project, state: Path) -> None:
    names = ["cut", "empty", "other-version", "no-object", "another", "deep", "gone", "whole"]
    made = {name: project.new_function(name=name, code="x = 1", handler="x") for name in names}
    files = {
        name: state / project.name / "function" / name / function.id / "entity.json"
        for name, function in made.items()
    }
    text = files["whole"].read_text()
    files["cut"].write_text(files["cut"].read_text()[:-20])
    files["empty"].write_text("")
    files["other-version"].write_text(
        files["other-version"].read_text().replace('"format": 1', '"format": 2')
    )
    files["no-object"].write_text("[1, 2]")
    files["another"].write_text(text)
    files["deep"].write_text("[" * 500_000)
    files["gone"].unlink()
    for name in names[:-1]:
        with pytest.raises(errors.EntityError):
            project.get_function(name)
    with pytest.warns(RuntimeWarning, match="left out") as warned:
        assert project.list_functions() == [made["whole"]]
    assert len([each for each in warned if issubclass(each.category, RuntimeWarning)]) == 6
    assert "format 2" in " ".join(str(each.message) for each in warned)
    project.delete_function("cut")
    assert not files["cut"].parent.exists()


# Workers, and several at once


def test_a_worker_has_the_same_entities(
    project: functions.Project, node: Node, tmp_path: Path, state: Path
) -> None:
    (tmp_path / "file").write_text("from a worker")
    function = project.new_function(
        name="f",
        handler="main",
        code=(
            "from erl import functions\n"
            "def main(name, path):\n"
            "    project = functions.get_or_create_project(name)\n"
            "    made = project.log_artifact(name='example', kind='artifact', source_path=path)\n"
            "    try:\n"
            "        project.get_artifact('none')\n"
            "    except LookupError as error:\n"
            "        return made.key, open(made.as_file()).read(), str(error), len(project.list_functions())\n"
        ),
    )
    key, text, error, count = node.func(
        _in_worker, function.directory, function.hash, project.name, str(tmp_path / "file")
    )
    assert (text, count) == ("from a worker", 1)
    assert error == f"there is no artifact none in the project {project.name}"
    assert project.get_artifact("example").key == key
    assert left(state) == []


def _in_worker(directory: str, hash_: str, name: str, path: str) -> Any:
    from erl.functions import loading

    return loading.load(directory, hash_, "main")(name, path)


def test_a_worker_in_a_sandbox_has_no_part_in_it(project: functions.Project, node: Node) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    try:
        with node.executor(max_workers=1, options={"sandbox": "bwrap"}) as executor:
            said = executor.submit(_refused_in_worker, project.name).result(120)
    except errors.BridgeError as error:
        pytest.skip(f"no sandbox can be made here: {error}")
    assert said.startswith("this worker has no part in what its node keeps: it is in a sandbox")


def _refused_in_worker(name: str) -> str:
    from erl import errors, functions

    try:
        return str(functions.list_functions(name))
    except errors.EntityError as error:
        return str(error)


def test_programs_that_make_the_same_at_once(node: Node, state: Path) -> None:
    program = (
        "import sys, erl; from erl import functions\n"
        "with erl.connect(sys.argv[1]):\n"
        "    project = functions.get_or_create_project('shared')\n"
        "    for number in range(5):\n"
        "        project.new_function(name='f', code=f'x = {number}', handler='x')\n"
        "    print(project.id)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, node.socket], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(printed) == 1
    project = functions.get_project("shared")
    made = project.get_function_versions("f")
    assert len({each.id for each in made}) == 15
    assert project.list_functions() == [made[-1]]
    assert left(state) == []
    functions.delete_project("shared")
    assert not (state / "shared").exists()
    assert "shared" not in [each.name for each in functions.list_projects()]


def test_many_entities_are_listed_page_by_page(
    project: functions.Project, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PAGE", 50)
    first = project.new_function(name="f0000", code="x = 1", handler="x")
    place = state / project.name / "function"
    text = (place / "f0000" / first.id / "entity.json").read_text()
    for number in range(1, 120):
        name = f"f{number:04}"
        (place / name / first.id).mkdir(parents=True)
        (place / name / first.id / "entity.json").write_text(text.replace("f0000", name))
    assert len(project.list_functions()) == 1
    # The next node reads the directories: here, another project of the same files.
    (state / project.name).rename(state / "many")
    for path in (state / "many").rglob("entity.json"):
        path.write_text(path.read_text().replace(project.name, "many"))
    listed = functions.list_functions("many")
    assert [each.name for each in listed] == [f"f{number:04}" for number in range(120)]
    functions.delete_project("many")


# The facade


@pytest.mark.filterwarnings("ignore:Python 3.10 is not here")
def test_programs_of_digitalhub_find_it(node: Node, tmp_path: Path) -> None:
    import digitalhub as dh

    (tmp_path / "main.py").write_text("def function(): pass\n")
    project = dh.get_or_create_project("my-project")
    function = project.new_function(
        name="python-function",
        kind="python",
        code_src=str(tmp_path / "main.py"),
        handler="function",
        python_version="PYTHON3_10",
    )
    again = dh.new_function(
        project="my-project",
        name="python-function",
        kind="python",
        code_src=str(tmp_path / "main.py"),
        handler="function",
        python_version="PYTHON3_10",
    )
    assert dh.get_function("python-function", project="my-project") == again != function
    assert again.hash == function.hash
    with pytest.raises(AttributeError):
        dh.no_such_thing  # noqa: B018
    assert set(functions.__all__) <= set(dir(dh))
