"""The action `build`: a run that has the environment of a function built, and says what is in it.

It is a run like any other: BUILDING while the node builds (`py_env` of the Erlang side), then RUNNING in the
environment, COMPLETED with the result `environment`: see `erl.functions.environments`. A function that has
requirements, or names a version of Python that the pool does not have, runs in its environment whether or not it was
built before.
"""

from __future__ import annotations

from erl.functions import jobs, runs
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

    from erl.functions.actions import Asked

Run = runs.Run


def start(function: Any, asked: Asked) -> runs.Run:
    """Begin a build. Raises `errors.EntityError` for requirements that are none, and for instructions."""
    environment = jobs.environment_of(function)
    if asked.task.instructions:
        environment.append((Atom("instructions"), [each.encode() for each in asked.task.instructions]))
    return jobs.begun(jobs.said_of(function, asked), asked, environment)
