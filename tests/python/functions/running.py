"""Functions of tests, and their runs."""

from __future__ import annotations

from typing import Any


def function(project: Any, handler: str, code: str, **keywords: Any) -> Any:
    """A function of this source, as the name of its handler has it."""
    name = handler.rpartition(":")[2].replace("_", "-")
    return project.new_function(name=name, kind="python", code=code, handler=handler, **keywords)


def ended(function: Any, **keywords: Any) -> Any:
    """A run of it that has ended."""
    return function.run(action="job", **keywords).wait(60)
