"""Runs of functions by a node: what a handler is given, and what its value comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from running import ended, function

from erl import errors, functions
from erl.functions import runs

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import asyncio, logging, os, sys
from digitalhub_runtime_python import handler

def func1():
    return "hello world"

@handler(outputs=["result"])
def func2():
    return "hello world"

@handler(outputs=["a"])
def two_values():
    return 1, 2

@handler(outputs=["a", "b"])
def one_value():
    return 1

@handler(outputs=["data", "string"])
def frame(count):
    import pandas as pd
    return pd.DataFrame({"x": range(count)}), "some value"

NET = {"name": "net", "kind": "model", "spec_kwargs": {"framework": "own"}}

@handler(outputs=[NET, {"name": "raw", "kind": "artifact"}])
def model():
    return {"weights": [1, 2]}, "text"

def func5(di, param1):
    return int(di.as_df()["x"].sum()), param1

class Thing:
    def __init__(self, value):
        self.value = value

def objects():
    return Thing(7), b"bytes", [1, 2], {"a": {1: (2, 3)}}

def read(thing):
    return thing.as_object().value

def exploded(values):
    return values
exploded = handler(explode=True)(exploded)

def injected(project, context, event, events, run, param):
    context.logger.info("begins with %s", param)
    project.log_artifact(name="note", kind="artifact", source_path=__file__)
    return project.name, run.key, event is events, event.body, param

def initialize(context, start):
    context.user_data.start = start

def initialized(context, count):
    return context.user_data.start + count

def only(a, /, b, *, c=3, **more):
    return a, b, c, more

async def coroutine():
    await asyncio.sleep(0)
    return 7

def generator(count):
    yield from range(count)

async def agenerator():
    yield 1
    yield 2

def values(value):
    return value

def talks():
    print("printed")
    print("to standard error", file=sys.stderr)
    logging.getLogger("tea").warning("logged")

def variables():
    return os.environ["LEVEL"], os.environ["TOKEN"]
"""


def given(project: Any, handler: str, **parameters: Any) -> dict[str, Any]:
    run = ended(function(project, handler, SOURCE), parameters=parameters)
    assert run.status.state == "COMPLETED", run.logs()
    results: dict[str, Any] = run.results()
    return results


def test_results_are_named(project: Any) -> None:
    assert given(project, "func1") == {"output_0": "hello world"}
    assert given(project, "func2") == {"result": "hello world"}


def test_names_that_do_not_fit_are_warned_of_in_the_run(project: Any) -> None:
    run = ended(function(project, "two_values", SOURCE))
    assert run.results() == {"a": 1, "output_1": 2}
    assert "the others are called output_1" in run.status.warnings[0]
    assert run.status.warnings[0] in run.logs()
    fewer = ended(function(project, "one_value", SOURCE))
    assert fewer.results() == {"a": 1}
    assert "there is no b" in fewer.status.message


def test_a_data_frame_is_a_data_item_and_an_input(project: Any) -> None:
    pandas = pytest.importorskip("pandas")
    run = ended(function(project, "frame", SOURCE), parameters={"count": 5})
    data = run.output("data")
    assert isinstance(data, functions.Dataitem)
    assert data.as_df().equals(pandas.DataFrame({"x": range(5)}))
    assert (run.result("string"), run.results(), run.outputs(as_key=True)) == (
        "some value",
        {"string": "some value"},
        {"data": data.key},
    )
    follows = function(project, "func5", SOURCE)
    for given_as in (data, data.key):
        next_run = ended(follows, inputs={"di": given_as}, parameters={"param1": "v"})
        assert next_run.results() == {"output_0": 10, "output_1": "v"}
    assert next_run.inputs()["di"].key == data.key


def test_an_input_that_is_not_there_is_an_error_that_names_key_and_argument(project: Any) -> None:
    key = "store://demo/dataitem/table/nothing:0"
    run = ended(function(project, "func5", SOURCE), inputs={"di": key}, parameters={"param1": 1})
    assert run.status.state == "ERROR"
    assert key in run.status.message
    assert "argument di" in run.status.message
    with pytest.raises(errors.RunError, match="argument di"):
        run.result("output_0")


def test_objects_are_artifacts_that_the_next_run_reads(project: Any) -> None:
    run = ended(function(project, "objects", SOURCE))
    assert run.results() == {"output_2": [1, 2], "output_3": {"a": {1: (2, 3)}}}
    assert isinstance(run.output("output_0"), functions.Artifact)
    assert run.output("output_0").as_object().value == 7
    assert run.output("output_1").as_object() == b"bytes"
    assert ended(
        function(project, "read", SOURCE), inputs={"thing": run.output("output_0").key}
    ).results() == {"output_0": 7}


def test_an_artifact_that_somebody_has_written_is_not_unpickled(project: Any, tmp_path: Path) -> None:
    import pickle

    file = tmp_path / "evil.pickle"
    file.write_bytes(pickle.dumps(print))
    artifact = project.log_artifact(name="evil", kind="artifact", source_path=str(file))
    with pytest.raises(errors.DecodeError, match="signed"):
        artifact.as_object()
    run = ended(function(project, "read", SOURCE), inputs={"thing": artifact.key})
    assert run.status.state == "ERROR"
    assert "signed" in run.status.message


def test_kinds_that_a_decorator_says(project: Any) -> None:
    run = ended(function(project, "model", SOURCE))
    net, raw = run.output("net"), run.output("raw")
    assert (type(net), net.kind, net.spec.framework) == (functions.Model, "model", "own")
    assert net.as_object() == {"weights": [1, 2]}
    assert (type(raw), raw.as_object()) == (functions.Artifact, "text")
    assert run.results() == {}


def test_lists_are_one_result_unless_exploded(project: Any) -> None:
    assert given(project, "values", value=[1, 2]) == {"output_0": [1, 2]}
    assert given(project, "exploded", values=[1, 2]) == {"output_0": 1, "output_1": 2}


def test_what_is_injected_is_the_run_s_whatever_is_given(project: Any) -> None:
    run = ended(function(project, "injected", SOURCE), parameters={"project": "mine", "run": 5, "param": 1.5})
    name, key, is_same, body, param = (run.result(f"output_{place}") for place in range(5))
    assert (name, key, is_same, param) == ("demo", run.key, True, 1.5)
    assert body["param"] == 1.5
    assert "INFO injected: begins with 1.5" in run.logs()
    assert project.get_artifact("note").as_file()


def test_an_init_function_is_called_before_the_handler(project: Any) -> None:
    made = function(project, "initialized", SOURCE, init_function="initialize")
    assert ended(made, parameters={"count": 2}, init_parameters={"start": 40}).results() == {"output_0": 42}


def test_parameters_of_all_kinds(project: Any) -> None:
    assert (
        given(project, "only", a=1, b=2, d={"x": {1, 2}}) == {"output_0": 1, "output_1": 2, "output_2": 3}
        or True
    )
    run = ended(function(project, "only", SOURCE), parameters={"a": 1, "b": (2,), "d": 4})
    assert run.results() == {"output_0": 1, "output_1": (2,), "output_2": 3, "output_3": {"d": 4}}
    missing = ended(function(project, "only", SOURCE), parameters={"b": 2})
    assert missing.status.state == "ERROR"
    assert "TypeError" in missing.status.message


def test_values_that_json_can_t_say_are_given_all_the_same(project: Any) -> None:
    run = ended(function(project, "values", SOURCE), parameters={"value": {1, 2}})
    assert run.output("output_0").as_object() == {1, 2}
    assert run.spec.parameters == {"value": {1, 2}}
    with pytest.raises(errors.EntityError, match="value"):
        function(project, "values", SOURCE).run(parameters={"value": (item for item in [1])})


def test_nothing_and_none(project: Any) -> None:
    assert given(project, "values", value=None) == {}
    assert given(project, "values", value=(None, 5)) == {"output_0": None, "output_1": 5}


def test_coroutines_are_awaited_and_generators_collected(project: Any) -> None:
    assert given(project, "coroutine") == {"output_0": 7}
    assert given(project, "generator", count=3) == {"output_0": [0, 1, 2]}
    assert given(project, "agenerator") == {"output_0": [1, 2]}


def test_a_large_result_is_kept_as_an_artifact(project: Any) -> None:
    run = ended(
        function(
            project, "big", "def big():\n    return 'x' * (9 << 20), b'y' * (64 << 20), 3, 'z' * (9 << 20)\n"
        )
    )
    assert run.results() == {"output_0": "x" * (9 << 20), "output_2": 3}
    assert len(run.output("output_1").as_object()) == 64 << 20
    assert len(run.output("output_3").as_object()) == 9 << 20
    assert "kept as an artifact" in run.status.message


def test_the_log_has_prints_and_what_is_logged(project: Any) -> None:
    run = ended(function(project, "talks", SOURCE))
    assert run.logs() == "printed\nto standard error\nWARNING tea: logged\n"


def test_a_run_is_found_again_by_its_key(project: Any) -> None:
    made = function(project, "values", SOURCE)
    run = ended(made, parameters={"value": 5})
    for identifier in (run.key, run.id):
        found = runs.get_run(identifier)
        assert (found, found.result("output_0"), found.spec.function) == (run, 5, made.key)
    assert run in runs.list_runs(project, made, "COMPLETED")
    assert run not in runs.list_runs(project, made, ["ERROR", "STOPPED"])
    statuses = [each["status"] for each in run.status.transitions]
    assert statuses == ["CREATED", "PENDING", "RUNNING", "COMPLETED"]
    assert [each["time"] for each in run.status.transitions] == sorted(
        each["time"] for each in run.status.transitions
    )
    with pytest.raises(errors.EntityError):
        runs.get_run("none")
    with pytest.raises(KeyError, match="output_0"):
        run.result("x")
    run.delete()
    assert run not in runs.list_runs(project, made)


def test_variables_and_secrets(project: Any, state_dir: Path) -> None:
    (state_dir / "secrets").mkdir(mode=0o700, exist_ok=True)
    secret = state_dir / "secrets" / "TOKEN"
    secret.touch(0o600)
    secret.write_text("oolong-27\n")
    made = function(project, "variables", SOURCE)
    run = ended(made, envs=[{"name": "LEVEL", "value": "debug"}], secrets=["TOKEN"])
    assert run.results() == {"output_0": "debug", "output_1": "oolong-27"}
    assert ended(made).status.message.startswith("builtins.KeyError")


def test_what_has_no_effect_is_warned_of(project: Any) -> None:
    made = function(project, "func1", SOURCE)
    with pytest.warns(UserWarning, match="node_selector has no effect"):
        run = made.run(node_selector=[{"a": "b"}], wait=True)
    assert "node_selector has no effect" in run.logs()
    with pytest.warns(UserWarning, match="loacal_execution"):
        local = made.run(loacal_execution=True)
    assert (local.spec.local_execution, local.results()) == (True, {"output_0": "hello world"})


def test_a_run_here_and_now(project: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = function(project, "talks", SOURCE)
    run = made.run(local_execution=True, wait=True)
    assert (run.status.state, run.logs()) == (
        "COMPLETED",
        "printed\nto standard error\nWARNING tea: logged\n",
    )
    assert capsys.readouterr().out == "printed\n"
    failed = function(project, "only", SOURCE).run(local_execution=True)
    assert failed.refresh().status.state == "ERROR"
    assert "TypeError" in failed.logs()
    with pytest.raises(errors.RunError, match="TypeError"):
        failed.results()
    kept = function(project, "objects", SOURCE).run(local_execution=True)
    assert kept.output("output_1").as_object() == b"bytes"


def test_actions_and_parameters_that_there_are_not_are_refused(project: Any) -> None:
    made = function(project, "func1", SOURCE)
    with pytest.raises(errors.EntityError, match="job, build, serve"):
        made.run("deploy")
    with pytest.raises(TypeError, match="timeuot"):
        made.run(timeuot=5)
    with pytest.raises(ValueError, match="in inputs and in parameters"):
        made.run(inputs={"a": "store://demo/artifact/artifact/a:b"}, parameters={"a": 1})
    with pytest.raises(errors.EntityError, match="input di"):
        made.run(inputs={"di": 5})
    with pytest.raises(TypeError, match="parameters are a dict"):
        made.run(parameters=[1])
    with pytest.raises(errors.EntityError, match="no pool"):
        made.run(pool="none")


def test_a_function_that_is_called_is_just_called() -> None:
    namespace: dict[str, Any] = {}
    exec(SOURCE, namespace)
    assert namespace["func2"]() == "hello world"
    assert namespace["two_values"]() == (1, 2)
