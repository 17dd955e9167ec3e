"""What dotted names stand for, modules, what is in them, functions; and what a call names with its first arguments.

A function of a module is remembered, and looked at again where the module or its attribute has changed.
"""

from __future__ import annotations

import sys

from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    _Ready = tuple[object, Any, list[Any], dict[str, Any] | None]


def name_of(value: object) -> str:
    """A Python name from an atom, a str or bytes; `-` is `_`. Raises `TypeError`."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        return value.replace("-", "_")
    raise TypeError(f"a name must be an atom or a binary, not {type(value).__name__}")


_PATHS = (str, bytes)  # not a union, which takes six times as long


def is_name(value: object) -> bool:
    """Whether a call's target is a path rather than a callable."""
    return isinstance(value, _PATHS)


def find(path: str) -> Any:
    """What a dotted path names: its longest importable prefix is the module, the rest are attributes.

    Raises `ModuleNotFoundError` when not even the first part can be imported, `AttributeError` when the rest is
    missing, and whatever a module raises while it is imported.
    """
    module = sys.modules.get(path)
    # One that another thread imports is waited for.
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        return module
    parts = path.split(".")
    missing: ModuleNotFoundError | None = None
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found: Any = _import(name)
        except ModuleNotFoundError as error:
            # A module that is there, and misses another one, is no reason to look at a shorter prefix.
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise
            missing = error
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return found
    assert missing is not None
    raise missing


def _import(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


_cached: dict[tuple[str, str], tuple[Any, str, object, Any]] = {}
"""What `function` found: the module, the attribute's name and value in it, and the function."""

_MOST_CACHED = 10_000


def function(module: str, name: str) -> Any:
    """The function `name`, which may be dotted, of what the path `module` names.

    A function of a module itself is remembered for as long as the module is the same and has the same attribute: a
    module that was reloaded or patched is looked at again.
    """
    key = (module, name)
    known = _cached.get(key)
    if known is not None:
        holder, first, value, found = known
        if sys.modules.get(holder.__name__) is holder and holder.__dict__.get(first, known) is value:
            return found
    found = _function(module, name)
    holder = sys.modules.get(module)
    if holder is not None and "." not in name:  # behind a dot anything may change unseen
        if len(_cached) >= _MOST_CACHED:
            _cached.clear()
        first = name.replace("-", "_")
        value = holder.__dict__.get(first, known)
        if value is not known:
            _cached[key] = (holder, first, value, found)
    return found


def _function(module: str, name: str) -> Any:
    found = find(module.replace("-", "_"))
    for attribute in name.replace("-", "_").split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as missing:
            # A submodule that nobody has imported yet is no attribute of its package.
            if not isinstance(found, _MODULE):
                raise
            submodule = _submodule(f"{found.__name__}.{attribute}")
            if submodule is None:
                raise missing from missing.__cause__
            found = submodule
    return found


def _submodule(name: str) -> ModuleType | None:
    """The module of that name, None where there is none. That it was looked for is nobody's to hear of."""
    try:
        return _import(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def target(path_or_callable: object, name: object = None) -> Any:
    """What a call's first two arguments name: module and function, a whole path, or the callable itself."""
    if not _is_left_out(name):
        if type(name) is Atom and type(path_or_callable) is Atom:
            return function(path_or_callable, name)
        return function(name_of(path_or_callable), name_of(name))
    if not is_name(path_or_callable):
        return path_or_callable
    module, _, last = name_of(path_or_callable).rpartition(".")
    return function(module, last) if module else find(last)


def _is_left_out(name: object) -> bool:
    """Whether a name is the atom that Erlang puts where none is given: None, unless the call's None is another one."""
    return name is None or (type(name) is Atom and name == "undefined")


def keywords(pairs: list[tuple[object, object]]) -> dict[str, object]:
    """Keyword arguments from `[(name, value)]`. The names stand as they are: `dict` takes any."""
    return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in pairs}


# The calls whose arguments begin with mapping flags, made ready. Each gives a key that stands for the callable (None:
# it is an object, which may be any), the callable, its arguments and its keywords.

SAID = frozenset(("erl.calls.objects", "erl.objects"))
"""The module's name as Erlang says it, and as it did before."""


def call(what: Any, name: object, args: list[object], pairs: list[tuple[object, object]]) -> _Ready:
    """A call of what the first two arguments name (see `target`)."""
    key = (what, name) if is_name(what) else None
    return key, target(what, name), args, keywords(pairs) if pairs else None


def method(obj: object, name: object, args: list[object], pairs: list[tuple[object, object]]) -> _Ready:
    """A call of a method of an object."""
    return (type(obj), name), getattr(obj, name_of(name)), args, keywords(pairs) if pairs else None


def attr(obj: object, name: object) -> _Ready:
    """An attribute of an object."""
    return (type(obj), name), getattr, [obj, name_of(name)], None


def const(path: object, name: object, type_: object) -> _Ready:
    """The value that a path, or a module and a name, stand for; converted by a type where one is given."""
    return None, _const, [path, name, type_], None


def _const(path: object, name: object, type_: object) -> object:
    value = target(path, name)
    if _is_left_out(type_):
        return value
    type_name = name_of(type_)
    return target(type_name if "." in type_name else f"builtins.{type_name}")(value)


WRAPPERS: dict[str, Callable[..., _Ready]] = {"call": call, "method": method, "attr": attr, "const": const}


_MODULE = type(sys)
