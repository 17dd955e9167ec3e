"""What a run of a function can be, `function.run(action=...)`: a table of modules, imported when they are asked for.

A module of an action has

    start(function, asked) -> Run       begin one; what is asked is an `Asked`
    Run                                 the class of its runs, `erl.functions.runs.Run` or one below it
"""

from __future__ import annotations

import importlib
import warnings

from erl import errors
from erl.functions import nodes, tasks

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any, Final

ACTIONS: Final = {
    "job": "erl.functions.jobs",
    "build": "erl.functions.builds",
    "serve": "erl.serving.action",
}

_LEVELS: Final = 3
"""From `warnings.warn` to whoever called `Function.run`."""


class Asked:
    """What a run is begun with, checked."""

    __slots__ = (
        "action",
        "init_parameters",
        "inputs",
        "key",
        "local_execution",
        "parameters",
        "pool",
        "task",
        "task_given",
        "wait",
        "warnings",
    )

    action: str
    inputs: dict[str, Any]
    """Keys of entities, or entities, by the names of arguments."""
    parameters: dict[str, Any]
    init_parameters: dict[str, Any]
    local_execution: bool
    wait: bool
    task: tasks.Task
    task_given: dict[str, Any]
    """The task's parameters as they were given."""
    pool: str
    """Whose workers run it."""
    key: Any
    """While a run of the project with this key waits, runs or is COMPLETED, it is the one that is meant."""
    warnings: list[str]


def module(action: str) -> ModuleType:
    """The module of an action. Raises `errors.EntityError` for one that is none."""
    if action not in ACTIONS:
        raise errors.EntityError(f"there is no action {action!r}; there are {', '.join(ACTIONS)}")
    return importlib.import_module(ACTIONS[action])


def begin(
    function: Any,
    action: str | None = None,
    local_execution: bool = False,
    inputs: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
    init_parameters: dict[str, Any] | None = None,
    wait: bool = False,
    *,
    pool: str = "default",
    key: Any = None,
    **task: Any,
) -> Any:
    """Begin a run of a function: see `erl.functions.runs.run`."""
    asked = Asked()
    asked.action = "job" if action is None else action
    found = module(asked.action)
    asked.warnings = []
    if "loacal_execution" in task:
        misspelled = task.pop("loacal_execution")
        asked.warnings.append("loacal_execution is read as local_execution")
        local_execution = local_execution or bool(misspelled)
    asked.task, said = tasks.checked(asked.action, task)
    asked.task_given = {name: value for name, value in task.items() if value is not None}
    asked.warnings += said
    asked.inputs = _named("inputs", inputs)
    asked.parameters = _named("parameters", parameters)
    asked.init_parameters = _named("init_parameters", init_parameters)
    both = sorted(asked.inputs.keys() & asked.parameters.keys())
    if both:
        raise ValueError(f"{', '.join(both)}: in inputs and in parameters")
    asked.pool, asked.key = str(pool), key
    asked.local_execution, asked.wait = bool(local_execution), bool(wait)
    if asked.task.volumes:
        _place_volumes(asked)
    for text in asked.warnings:
        warnings.warn(text, UserWarning, stacklevel=_LEVELS + 1)
    run = found.start(function, asked)
    return run.wait() if asked.wait else run


def _place_volumes(asked: Asked) -> None:
    """Volumes are mounted where a run is in a box; elsewhere there is a warning that they are not."""
    is_job = asked.action == "job" and not asked.local_execution
    if is_job and nodes.call("py_function", "is_boxed", [asked.pool.encode()]):
        asked.warnings.remove(tasks.NO_BOX)
    else:
        asked.task.volumes = []


def _named(what: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise TypeError(f'{what} are a dict with names of arguments: {{"di": ...}}')
    return dict(given)
