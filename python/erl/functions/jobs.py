"""The action `job`: a run of a function in a worker of a pool, or in the caller's process.

What a run is begun with is one JSON object, the argument of `erl.functions.job:run`:

    {"format": 1, "action": "job", "project", "name", "function": key, "inputs": {name: key},
     "parameters": {name: packed}, "init_parameters", "task": {...}, "warnings": [text]}

(`packed`: see `erl.functions.arguments`.) The source is found by the function's key, which is of one version.
"""

from __future__ import annotations

import json

from erl import errors
from erl.functions import job, nodes, runs, said
from erl.functions.local import LocalRun
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.functions.actions import Asked

Run = runs.Run


def start(function: Any, asked: Asked) -> runs.Run:
    """Begin a job. Raises `errors.EntityError` for what can't be kept."""
    spec = said_of(function, asked)
    if asked.local_execution:
        return LocalRun(spec)
    return begun(spec, asked, environment_of(function))


def environment_of(function: Any) -> list[tuple[Any, Any]]:
    """What `py_env` is asked for a function: the node knows whether a pool will do."""
    version, requirements = job.python_of(function)
    return [(Atom("python_version"), version), (Atom("requirements"), requirements)]


def said_of(function: Any, asked: Asked) -> dict[str, Any]:
    """What a run is begun with, as JSON can say it."""
    spec = job.spec_of(function, asked.action, asked.inputs, asked.parameters, asked.init_parameters)
    return {**spec, "task": asked.task_given, "warnings": asked.warnings}


def begun(spec: dict[str, Any], asked: Asked, environment: list[tuple[Any, Any]]) -> runs.Run:
    """A durable run: written down when this returns."""
    return runs.Run(begin(spec, asked, environment), spec)


def begin(
    spec: dict[str, Any],
    asked: Asked,
    environment: list[tuple[Any, Any]],
    more: list[tuple[Any, Any]] | None = None,
) -> str:
    """The id of a run that is written down when this returns; `more` are options of `py_run`."""
    try:
        text = json.dumps(spec, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise errors.EntityError(f"the parameters of the task are no JSON: {error}") from error
    action = Atom(spec["action"])
    asked_for = [
        *options(spec, asked),
        (Atom("environment"), environment),
        (Atom("action"), action),
        *(more or []),
    ]
    return nodes.text_of(nodes.call("py_function", "begin_run", [text, job.needs_of(spec), asked_for]))


def _volume(said: dict[str, Any]) -> list[tuple[Any, Any]]:
    """A volume's name, or that of its claim, where it is to be, and its type."""
    spec = said.get("spec")
    claim = spec.get("claim_name") if isinstance(spec, dict) else None
    named = {"name": claim or said["name"], **{key: said.get(key) for key in ("mount_path", "volume_type")}}
    return [(Atom(key), str(value).encode()) for key, value in named.items() if value is not None]


def options(spec: dict[str, Any], asked: Asked) -> list[tuple[Any, Any]]:
    """The options of `py_run`."""
    task = asked.task
    made: dict[str, Any] = {
        "project": spec["project"].encode(),
        "function": spec["name"].encode(),
        "pool": asked.pool.encode(),
        "retries": task.retries,
    }
    # That of a service is of each request.
    if task.timeout is not None and spec["action"] != "serve":
        made["timeout"] = max(1, round(task.timeout * 1000))
    if task.envs:
        made["env"] = [(name.encode(), value.encode()) for name, value in task.envs]
    if task.secrets:
        made["secrets"] = [name.encode() for name in task.secrets]
    if task.volumes:
        made["volumes"] = [_volume(each) for each in task.volumes]
    limits = [(Atom("cpus"), task.cpus)] if task.cpus is not None else []
    if task.memory_bytes is not None:
        limits.append((Atom("memory"), task.memory_bytes))
    if limits:
        made["limits"] = limits
    if asked.key is not None:
        try:
            made["key"] = said.dumps(asked.key).encode()
        except said.NotSaid as error:
            raise errors.EntityError(f"the key of a run is what JSON can say, not {error}") from None
    return [(Atom(name), value) for name, value in made.items()]
