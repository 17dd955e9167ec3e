"""Functions, their runs, and what they work on: kept by a node, so that they outlive whoever has made them.

    project = erl.functions.get_or_create_project("demo")
    function = project.new_function(name="f", kind="python", code_src="main.py", handler="main")
    function.run(action="job", wait=True)

A program's node is the one that it has started or joined last, else one is started; in a worker it is the worker's own.
"""

from __future__ import annotations

from erl.names.lazily import imported

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from erl.functions.entities import Artifact, Dataitem, Entity, Function, Model
    from erl.functions.finding import (
        delete_artifact,
        delete_dataitem,
        delete_function,
        delete_model,
        get_artifact,
        get_artifact_versions,
        get_dataitem,
        get_dataitem_versions,
        get_entity,
        get_function,
        get_function_versions,
        get_model,
        get_model_versions,
        list_artifacts,
        list_dataitems,
        list_functions,
        list_models,
    )
    from erl.functions.handlers import handler
    from erl.functions.making import (
        log_artifact,
        log_dataitem,
        log_model,
        new_artifact,
        new_dataitem,
        new_function,
        new_model,
    )
    from erl.functions.projects import (
        Project,
        delete_project,
        get_or_create_project,
        get_project,
        list_projects,
        new_project,
    )
    from erl.functions.runs import Run, delete_run, get_run, list_runs, prune_runs

__all__ = [
    "Artifact",
    "Dataitem",
    "Entity",
    "Function",
    "Model",
    "Project",
    "Run",
    "delete_artifact",
    "delete_dataitem",
    "delete_function",
    "delete_model",
    "delete_project",
    "delete_run",
    "get_artifact",
    "get_artifact_versions",
    "get_dataitem",
    "get_dataitem_versions",
    "get_entity",
    "get_function",
    "get_function_versions",
    "get_model",
    "get_model_versions",
    "get_or_create_project",
    "get_project",
    "get_run",
    "handler",
    "list_artifacts",
    "list_dataitems",
    "list_functions",
    "list_models",
    "list_projects",
    "list_runs",
    "log_artifact",
    "log_dataitem",
    "log_model",
    "new_artifact",
    "new_dataitem",
    "new_function",
    "new_model",
    "new_project",
    "prune_runs",
]


def _home(name: str) -> str:
    if name in ("Artifact", "Dataitem", "Entity", "Function", "Model"):
        return "entities"
    if "project" in name.lower():
        return "projects"
    if name == "handler":
        return "handlers"
    if "run" in name.lower():
        return "runs"
    return "making" if name.startswith(("new_", "log_")) else "finding"


_MODULES = (
    "actions",
    "entities",
    "finding",
    "handlers",
    "keys",
    "loading",
    "making",
    "nodes",
    "projects",
    "runs",
    "sources",
    "store",
)

__getattr__ = imported(
    "erl.functions",
    {
        **{name: f"erl.functions.{_home(name)}" for name in __all__},
        **{name: f"erl.functions.{name}" for name in _MODULES},
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
