"""What a function's result comes to: which outputs it has, and how they are called.

| the handler returns | outputs |
|---|---|
| None, () | none |
| a tuple | one for each item |
| a list, with `explode=True` | one for each item |
| anything else | one |

They are called as `@handler(outputs=[...])` says, the others `output_0`, `output_1`, by their places.
"""

from __future__ import annotations

import functools

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

ENTITIES: Final = {
    "artifact": "artifact",
    "dataitem": "dataitem",
    "table": "dataitem",
    "model": "model",
    "mlflow": "model",
    "sklearn": "model",
    "huggingface": "model",
}
"""The kinds that an output may be said to have, and the entities that they are kinds of."""

_DECLARED: Final = "__erl_outputs__"
_KEYS: Final = frozenset(("name", "kind", "spec_kwargs"))


class Output:
    """An output that a decorator declares."""

    __slots__ = ("kind", "name", "spec_kwargs")

    def __init__(self, name: str, kind: str | None = None, spec_kwargs: dict[str, Any] | None = None) -> None:
        self.name = name
        self.kind = kind
        """What it is to be; None: what its value says."""
        self.spec_kwargs = dict(spec_kwargs or {})
        """More of what its entity says of itself."""


class Declared:
    """What a decorator says of a function's result."""

    __slots__ = ("explode", "outputs")

    def __init__(self, outputs: tuple[Output, ...] = (), explode: bool = False) -> None:
        self.outputs = outputs
        self.explode = explode


def handler(outputs: Any = None, *, explode: bool = False) -> Any:
    """Say how the results of a function's runs are called; called directly, the function is just called.

    `outputs` has a name for each, or `{"name": "data", "kind": "dataitem", "spec_kwargs": {...}}`. With `explode` a
    list that is returned is one output for each item, as a tuple always is; otherwise it is one result. Raises
    `TypeError` and `ValueError` for outputs that are none.
    """
    if callable(outputs):  # @handler, without parentheses
        return handler()(outputs)
    declared = Declared(_outputs(outputs), bool(explode))

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError(f"@handler stands above a function, not a {type(function).__name__}")
        try:
            setattr(function, _DECLARED, declared)
        except (AttributeError, TypeError):  # one that C code has made
            named = functools.partial(function)
            functools.update_wrapper(named, function)
            setattr(named, _DECLARED, declared)
            return named
        return function

    return decorated


def declared_by(function: Any) -> Declared:
    """What its decorator says, also behind other decorators that wrap it."""
    seen = 0
    while function is not None and seen < 100:
        found = getattr(function, _DECLARED, None)
        if isinstance(found, Declared):
            return found
        function = getattr(function, "__wrapped__", None)
        seen += 1
    return Declared()


def _outputs(given: Any) -> tuple[Output, ...]:
    if given is None:
        return ()
    if isinstance(given, (str, bytes, dict)) or not hasattr(given, "__iter__"):
        raise TypeError('outputs are a list of names: @handler(outputs=["result"])')
    made = tuple(_output(each) for each in given)
    names = [each.name for each in made]
    if len(set(names)) < len(names):
        raise ValueError(f"outputs have names of their own, these have not: {names}")
    return made


def _output(given: Any) -> Output:
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, dict):
        raise TypeError(f"an output is a name or a dict with a name, not a {type(given).__name__}")
    unknown = sorted(str(key) for key in given.keys() - _KEYS)
    if unknown:
        raise ValueError(f"an output has name, kind and spec_kwargs, not {', '.join(unknown)}")
    name, kind, spec_kwargs = given.get("name"), given.get("kind"), given.get("spec_kwargs")
    if not isinstance(name, str) or not name:
        raise ValueError(f"an output has a name, a text: {given!r}")
    if kind is not None and kind not in ENTITIES:
        raise ValueError(f"there is no kind {kind!r} of an output; there are {', '.join(sorted(ENTITIES))}")
    if spec_kwargs is not None and not isinstance(spec_kwargs, dict):
        raise TypeError(f"spec_kwargs are a dict, not a {type(spec_kwargs).__name__}")
    return Output(name, kind, spec_kwargs)


def split(value: Any, declared: Declared) -> tuple[list[tuple[Output, Any]], list[str]]:
    """A function's outputs with their values, and what there is to say about their names."""
    values = _values(value, declared.explode)
    named = list(declared.outputs[: len(values)])
    taken = {each.name for each in named}
    for place in range(len(named), len(values)):
        name = f"output_{place}"
        while name in taken:
            name += "_"
        taken.add(name)
        named.append(Output(name))
    return list(zip(named, values, strict=True)), _warnings(declared.outputs, named, len(values))


def _values(value: Any, explode: bool) -> Sequence[Any]:
    if value is None:
        return ()
    if isinstance(value, tuple) or (explode and isinstance(value, list)):
        return value
    return (value,)


def _warnings(declared: tuple[Output, ...], named: list[Output], count: int) -> list[str]:
    if not declared or len(declared) == count:
        return []
    if len(declared) > count:
        told = f"there is no {', '.join(each.name for each in declared[count:])}"
    else:
        told = f"the others are called {', '.join(each.name for each in named[len(declared) :])}"
    returned, names = _counted(count, "value"), _counted(len(declared), "output")
    return [f"the handler returned {returned}, and names {names}: {told}"]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def entity_name(name: str, place: int) -> str:
    """The name of an entity for an output of any name: entities' names are parts of paths."""
    made = (
        "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")[:63].rstrip("-")
    )
    return made or f"output-{place}"
