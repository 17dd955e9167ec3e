"""The calls whose arguments begin with mapping flags, made ready.

Each gives a key that stands for the callable (None: it is an object, which may be any), the callable, its arguments and
its keywords. Erlang says them as functions of `erl.calls.objects`; the server takes the flags off before.
"""

from __future__ import annotations

from erl.names.lookup import is_name, keywords, name_of, target

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _Ready = tuple[object, Any, list[Any], dict[str, Any] | None]

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
    if type_ is None:
        return value
    type_name = name_of(type_)
    return target(type_name if "." in type_name else f"builtins.{type_name}")(value)


WRAPPERS: dict[str, Callable[..., _Ready]] = {"call": call, "method": method, "attr": attr, "const": const}
