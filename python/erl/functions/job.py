"""A job, in the worker that runs it: what `erl.functions.jobs` has begun, and `py_function` of the Erlang side.

    > run(Said, Needs)            a JSON object: see `erl.functions.jobs`; Needs: what a box is given, keys line by line
    < (Document, Results, Outputs, Warnings)

`Document` is what `Results` (terms by names), `Outputs` (keys by names) and `Warnings` are as JSON, for Python.
"""

from __future__ import annotations

import functools
import json
import logging
import os

from erl import errors
from erl.functions import arguments, boxed, contexts, entities, handlers, loading, outputs, projects, runs
from erl.functions import said as json_said
from erl.names import lookup
from erl.values.ended import ended
from erl.values.running import attempt
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

FORMAT: Final = 1
"""Of what a run is begun with."""


def run(
    text: bytes | str, needs: bytes | str = b""
) -> tuple[bytes, dict[bytes, Any], dict[bytes, bytes], list[bytes]]:
    """Run it, and keep what it returns. Raises what the function raises, and `errors.EntityError`."""
    asked = json.loads(text)
    own, box = attempt.get(), boxed.current()
    run_id = os.path.basename(own[0]) if own is not None and own[0] else "none"
    if box is not None:
        run_id = box.run_id
    run_of: Callable[[], Any] = lambda: (  # noqa: E731  # either is short
        runs.get_run(run_id) if box is None else runs.in_box(run_id, asked)
    )
    made = called(asked, run_id, run_of, is_remote=True)
    document = document_of(made).encode()
    return (
        document,
        {name.encode(): value for name, value in made.results.items()},
        {name.encode(): key.encode() for name, key in made.outputs.items()},
        [each.encode() for each in made.warnings],
    )


def document_of(made: outputs.Outputs) -> str:
    """What a run has given, as JSON."""
    results = {name: json_said.as_json(value) for name, value in made.results.items()}
    return json.dumps(
        {"results": results, "outputs": made.outputs, "warnings": made.warnings}, ensure_ascii=False
    )


def called(
    asked: dict[str, Any], run_id: str, run_of: Callable[[], Any], *, is_remote: bool
) -> outputs.Outputs:
    """Load the function, compose its arguments, call it, and keep what it returns."""
    own_pid = os.getpid()
    logger = logging.getLogger("erl.functions")
    for warning in asked["warnings"]:
        logger.warning("%s", warning)
    function = function_of(asked["function"])
    if asked["action"] == "build":
        from erl.functions import environments

        return environments.described()
    called_one = loading.load(function.directory, function.hash, function.handler)
    values = {
        **arguments.unpacked(asked["parameters"], "the parameter"),
        **arguments.entities_of(asked["inputs"]),
    }

    # One of each, for the init function and for the handler.
    @functools.cache
    def project() -> Any:
        return projects.get_project(asked["project"])

    @functools.cache
    def context() -> contexts.Context:
        return contexts.Context(project(), run_of(), asked["name"])

    @functools.cache
    def event() -> contexts.Event:
        return contexts.Event(values, id=run_id)

    injected: dict[str, Callable[[], Any]] = {
        "project": project,
        "context": context,
        "event": event,
        "events": event,
        "run": run_of,
    }
    if is_remote and function.spec.get("init_function"):
        _initialize(function, asked, injected)
    placed, named = arguments.composed(called_one, values, injected)
    value = ended(called_one(*placed, **named))
    if (
        os.getpid() != own_pid
    ):  # a child that the handler has forked, and that returns from it: it is not the run
        os._exit(0)
    made = outputs.kept(value, handlers.declared_by(called_one), project, run_id)
    for warning in made.warnings:
        logger.warning("%s", warning)
    return made


def _initialize(function: Any, asked: dict[str, Any], injected: dict[str, Callable[[], Any]]) -> None:
    init = loading.load(function.directory, function.hash, function.spec["init_function"])
    values = arguments.unpacked(asked["init_parameters"], "the init parameter")
    placed, named = arguments.composed(init, values, injected)
    ended(init(*placed, **named))


def needs_of(asked: dict[str, Any]) -> bytes:
    """The keys of what a run works on, line by line: what a box is given with the call."""
    return "\n".join(dict.fromkeys([asked["function"], *asked["inputs"].values()])).encode()


def said(
    key: str, inputs: list[Any], parameters: list[Any], init_parameters: list[Any]
) -> tuple[bytes, bytes, bytes, bytes, bytes, list[bytes]]:
    """What a run of a function is begun with by `py_function`: this, what it works on, the function's project, its
    name, its version of Python and its requirements.
    """
    function = function_of(key)
    spec = spec_of(
        function,
        "job",
        lookup.keywords(inputs),
        lookup.keywords(parameters),
        lookup.keywords(init_parameters),
    )
    text = json.dumps(spec, ensure_ascii=False)
    return (
        text.encode(),
        needs_of(spec),
        function.project.encode(),
        function.name.encode(),
        *python_of(function),
    )


def spec_of(
    function: entities.Function,
    action: str,
    inputs: dict[str, Any],
    parameters: dict[str, Any],
    init_parameters: dict[str, Any],
) -> dict[str, Any]:
    """What a run of a function is begun with, as JSON can say it, with no parameters of a task yet."""
    return {
        "format": FORMAT,
        "action": action,
        "project": function.project,
        "name": function.name,
        "function": function.key,
        "inputs": arguments.keys_of(inputs),
        "parameters": arguments.packed(parameters, "the parameter"),
        "init_parameters": arguments.packed(init_parameters, "the init parameter"),
        "task": {},
        "warnings": [],
    }


def python_of(function: entities.Function) -> tuple[bytes, list[bytes]]:
    """The version of Python that a function asks for, empty where it asks for none, and its requirements."""
    spec = function.spec
    return (spec.get("python_version") or "").encode(), [
        each.encode() for each in spec.get("requirements") or []
    ]


_functions: dict[str, tuple[entities.Function, tuple[int, int]]] = {}
"""Functions that this worker has run, by their keys: none changes, and the file says whether one is there still."""

_MOST_FUNCTIONS: Final = 256


def function_of(key: str) -> entities.Function:
    """The function of a key. Raises `errors.EntityError`, which says that it was deleted."""
    known = _functions.get(key)
    if known is not None and entities.written(known[0]._content) == known[1]:
        return known[0]
    found = _asked_for(key)
    file = entities.written(found._content)
    # Of one node, by one name: a worker has one node, and a key with an id names one version.
    if file is not None and found.key == key and current().bridge is not None:
        if len(_functions) >= _MOST_FUNCTIONS:
            _functions.clear()
        _functions[key] = found, file
    return found


def _asked_for(key: str) -> entities.Function:
    try:
        found = entities.from_key(key)
    except errors.UnknownEntityError:
        raise errors.UnknownEntityError(
            f"the function {key} is not there any more: it was deleted after the run was begun"
        ) from None
    if not isinstance(found, entities.Function):
        raise errors.EntityError(f"{key} is no function")
    return found
