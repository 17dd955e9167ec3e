"""A handler: found, looked at, and called with what its parameters name.

`context`, `event` (or `events`) and `project` are given; every other parameter comes from the keys of the JSON body.
"""

from __future__ import annotations

import inspect
import json
import sys

from erl.names import lookup
from erl.serving.events import Event

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

_EVENT: Final = ("event", "events")
_GIVEN: Final = ("context", *_EVENT, "project")
_MOST_NAMED: Final = 20


class RefusedError(Exception):
    """Raised where a request does not have what the handler takes; with the status of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def find(name: str) -> Callable[..., Any]:
    """The function of `"module:function"`. Raises `ValueError` for another form, and what the import raises."""
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise ValueError(f"a handler is named module:function, not {name!r}")
    found = lookup.function(module, function)
    if not callable(found):
        raise TypeError(f"{name} is no function but a {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def find_init(name: str | None, handler: Callable[..., Any]) -> Callable[..., Any] | None:
    """The init function: of the handler's module where no module is named; `init_context` where nothing is."""
    module = sys.modules.get(inspect.unwrap(handler).__module__)
    if name is None:
        return getattr(module, "init_context", None)
    if ":" in name:
        return find(name)
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(
            f"there is no init function {name} in {module.__name__ if module else 'the handler'}"
        )
    return found  # type: ignore[no-any-return]


def run_init(function: Callable[..., Any], context: object, parameters: dict[str, Any]) -> Any:
    """Call the init function. Raises `ValueError` where the parameters are not those that it takes."""
    taken = inspect.signature(function).parameters.values()
    names = [each.name for each in taken if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    expected = [name for name in names if name != "context"]
    needed = {each.name for each in taken if each.default is each.empty} & set(expected)
    takes_any = any(each.kind is each.VAR_KEYWORD for each in taken)
    if needed - set(parameters) or (set(parameters) - set(expected) and not takes_any):
        got = list(parameters)
        raise ValueError(f"Init function parameters mismatch. Expected: {expected}, Got: {got}")
    if "context" in names or not names:
        return function(**parameters, **({"context": context} if "context" in names else {}))
    # Named otherwise, it stands first, as with Nuclio; then it is none of those that are given by name.
    return function(**parameters)


class Handler:
    """A function with what its parameters want, looked at once."""

    def __init__(self, function: Callable[..., Any], project: Callable[[], Any] | None = None) -> None:
        self.function = function
        self._project = project
        parameters = inspect.signature(function).parameters.values()
        named = [each for each in parameters if each.name not in _GIVEN]
        self._given = [each.name for each in parameters if each.name in _GIVEN]
        self._first = [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
        self._takes_any = any(each.kind is each.VAR_KEYWORD for each in named)
        self._named = {
            each.name: each.default is each.empty
            for each in named
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        }
        self._reads_body = bool(self._named) or self._takes_any or not set(_EVENT) & set(self._given)

    def call(self, context: object, event: Event, content_type: str, body: bytes) -> Any:
        """Call it. Raises `RefusedError` for a request without what it takes, and whatever it raises itself."""
        keywords = self._from_body(content_type, body, event) if self._reads_body else {}
        for name in self._given:
            if name == "context":
                keywords[name] = context
            elif name == "project":
                keywords[name] = None if self._project is None else self._project()
            else:
                keywords[name] = event
        first = [keywords.pop(name) for name in self._first if name in keywords]
        return self.function(*first, **keywords)

    def _from_body(self, content_type: str, body: bytes, event: Event) -> dict[str, Any]:
        is_json = is_json_type(content_type)
        said = _object(body, event) if is_json and body else {}
        missing = [name for name, needed in self._named.items() if needed and name not in said]
        unknown = [] if self._takes_any else [name for name in said if name not in self._named]
        if missing or unknown:
            texts = [f"missing: {_listed(missing)}"] if missing else []
            texts += [f"unknown: {_listed(unknown)}"] if unknown else []
            if body and not is_json:
                texts.append("parameters are keys of a JSON object, whose content type is application/json")
            raise RefusedError(422, "; ".join(texts))
        return {name: value for name, value in said.items() if name not in _GIVEN} if said else {}


def is_json_type(content_type: str) -> bool:
    """Whether a content type says JSON, whatever its parameters."""
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _object(body: bytes, event: Event) -> dict[str, Any]:
    said = event.body
    if said is body:
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            raise RefusedError(400, "the body is no JSON") from None
    if not isinstance(said, dict):
        raise RefusedError(422, "the body must be a JSON object, whose keys are the handler's parameters")
    return said


def _listed(names: list[str]) -> str:
    few = [name if len(name) <= 100 else f"{name[:100]}..." for name in names[:_MOST_NAMED]]
    return ", ".join(few) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
