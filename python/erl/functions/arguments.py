"""The arguments of a handler: how they travel, and how they are composed.

A value that JSON can say travels as JSON, another one as a pickle that this node's key has signed:

    {"json": value} | {"pickle": base64}
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode

from erl import errors
from erl.functions import entities, said, signed

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def packed(values: dict[str, Any], what: str) -> dict[str, Any]:
    """Values by their names, as a run keeps them. Raises `errors.EntityError` for one that can't be."""
    return {name: _packed(value, f"{what}: {name}") for name, value in values.items()}


def _packed(value: Any, what: str) -> dict[str, Any]:
    try:
        return {"json": json.loads(said.dumps(value))}
    except said.NotSaid:
        pass
    try:
        return {"pickle": b64encode(signed.dumps(value)).decode()}
    except errors.EncodeError as error:
        raise errors.EntityError(f"{what} can't be given to a run: {error}") from error


def unpacked(values: dict[str, Any], what: str) -> dict[str, Any]:
    """What `packed` has packed. Raises `errors.DecodeError`, with the name, for a pickle that can't be read."""
    return {name: _unpacked(value, f"{what}: {name}") for name, value in values.items()}


def _unpacked(value: dict[str, Any], what: str) -> Any:
    if "json" in value:
        return said.from_json(value["json"])
    try:
        return signed.loads(b64decode(value["pickle"]))
    except errors.DecodeError as error:
        raise errors.DecodeError(f"{what}: {error}") from error


def keys_of(inputs: dict[str, Any]) -> dict[str, str]:
    """The keys of a run's inputs. Raises `errors.EntityError` for what is no key and no entity."""
    found = {}
    for name, value in inputs.items():
        key = value if isinstance(value, str) else getattr(value, "key", None)
        if not isinstance(key, str):
            raise errors.EntityError(
                f"the input {name} is the key of an entity, not a {type(value).__name__}"
            )
        found[name] = key
    return found


def entities_of(inputs: dict[str, str]) -> dict[str, Any]:
    """The entities of a run's inputs. Raises `errors.EntityError`, which names key and argument."""
    return {name: _entity(name, key) for name, key in inputs.items()}


def _entity(name: str, key: str) -> Any:
    try:
        found = entities.from_key(key)
    except errors.UnknownEntityError as error:
        raise errors.UnknownEntityError(f"the argument {name} has the key {key}: {error}") from None
    except errors.EntityError as error:
        raise errors.EntityError(f"the argument {name} has the key {key}: {error}") from None
    if found.ENTITY_TYPE == "function":
        raise errors.EntityError(
            f"the argument {name} has the key {key}, of a function: inputs are data items, artifacts, models"
        )
    return found


def composed(
    function: Callable[..., Any], values: dict[str, Any], injected: dict[str, Callable[[], Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by position and by name: the values, and of what is injected that which the function names."""
    import inspect

    named = dict(values)
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):  # one that C code has made
        return [], named
    for name, parameter in parameters.items():
        if name in injected and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            named[name] = injected[name]()
    placed = []
    for name, parameter in parameters.items():
        if parameter.kind is not parameter.POSITIONAL_ONLY or name not in named:
            break
        placed.append(named.pop(name))
    return placed, named
