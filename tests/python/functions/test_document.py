"""The programs of DigitalHub's page on its Python runtime, as they stand there: `...` where it has only a comment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from running import ended

from erl import functions

if TYPE_CHECKING:
    from pathlib import Path

DEFINITIONS = """
from digitalhub_runtime_python import handler

# 1. Simple function that returns a string

def func1():
   return "hello world"

# 2. Decorated function that returns a string

# If you decorate your function and return something, you need to map the outputs
# in the decorator
@handler(outputs=["result"])
def func2():
   return "hello world"


# 3. Function with project argument
def func3(project):
   # allowed use of project variable
   project.log_artifact(name="example",
                        kind="artifact",
                        source_path="/path/to/file")

   # not allowed use of project variable
   project.some_method_not_from_sdk() # Probably there will be an error


# 4. Function with context and events arguments
def func4(context, events):
   # allowed use of context and events variables in remote execution
   context.logger.info("Some log")

# 5. Function with mixed input arguments
def func5(di: Dataitem, param1: str):
   # di refers to a Dataitem object, so it must be mapped into runs inputs
   # param1 is a string, it must be mapped into runs parameters
   ...

# 6. Init function for remote execution
def init(context, param1, param2):
    # The init function is a function executed by the nuclio wrapper
    # before the execution of the user handler.
    # The context param is overridden by the runtime with the nuclio context,
    # the param1 and param2 are passed by the user at runtime into runs init_parameters
    ...
"""

OUTPUTS = """
import pandas as pd
from digitalhub_runtime_python import handler

@handler(outputs=["data", "string"])
def func(di: Dataitem, param1: str):
   # do something with di
   return pd.DataFrame(), "some value"
"""


@pytest.fixture
def of_document(project: Any, tmp_path: Path) -> Any:
    file = tmp_path / "main.py"
    file.write_text(DEFINITIONS.replace("/path/to/file", str(file)))

    def made(handler: str, **keywords: Any) -> Any:
        return project.new_function(
            name=handler,
            kind="python",
            code_src=str(file),
            handler=handler,
            python_version="PYTHON3_9",
            **keywords,
        )

    return made


@pytest.mark.filterwarnings("ignore")
def test_function_definitions(of_document: Any, project: Any) -> None:
    assert ended(of_document("func1")).results() == {"output_0": "hello world"}
    assert ended(of_document("func2")).results() == {"result": "hello world"}
    third = ended(of_document("func3"))
    assert third.status.state == "ERROR"
    assert "some_method_not_from_sdk" in third.status.message
    assert project.get_artifact("example").as_file()
    fourth = ended(of_document("func4", init_function="init"), init_parameters={"param1": 1, "param2": 2})
    assert (fourth.status.state, fourth.results()) == ("COMPLETED", {})
    assert "Some log" in fourth.logs()


@pytest.mark.filterwarnings("ignore")
def test_parameters_composition(of_document: Any, project: Any, tmp_path: Path) -> None:
    import digitalhub as dh  # type: ignore[import-not-found]

    table = tmp_path / "table.csv"
    table.write_text("x\n1\n")
    sdk_dataitem = dh.new_dataitem(project="demo", name="table", kind="table", path=str(table))
    sdk_function = of_document("func5")
    run = sdk_function.run(
        action="job", inputs={"di": sdk_dataitem.key}, parameters={"param1": "some value"}, wait=True
    )
    assert (run.status.state, run.outputs(), run.results()) == ("COMPLETED", {}, {})
    # Without an action it is a job.
    assert sdk_function.run(inputs={"di": sdk_dataitem.key}).wait(60).status.state == "ERROR"


@pytest.mark.filterwarnings("ignore")
def test_outputs(project: Any, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    item = project.log_dataitem(name="frame", kind="table", data=pandas.DataFrame({"x": [1]}))
    made = project.new_function(
        name="func", kind="python", code=OUTPUTS, handler="func", python_version="PYTHON3_9"
    )
    run = ended(made, inputs={"di": item.key}, parameters={"param1": "some value"})
    assert isinstance(run.output("data"), functions.Dataitem)
    assert run.output("data").as_df().empty
    assert run.result("string") == "some value"
