"""Functions on their way to workers.

One that workers can import goes by its name, any other by value (cloudpickle), which takes a hundred times as long. So
the pickle of one by value is kept, as long as nothing that went into it can have changed: its code, and each global and
each variable around it that it names, as long as they are numbers, texts, modules or functions of the same kind.
"""

from __future__ import annotations

import sys
import types
from operator import is_
from pickle import PicklingError
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from erl.values import parcels

if TYPE_CHECKING:
    from collections.abc import Mapping

_ATOMS = frozenset((int, float, complex, str, bytes, bool, type(None), types.BuiltinFunctionType))
_NUMBERS = frozenset((int, float, bool, type(None)))
_OWNERS = frozenset((types.ModuleType, type(None)))
"""What a builtin function may be bound to, so that it goes by its name."""
_SHORT = 1000
_MOST_BYTES = 1 << 16
_MOST_DEPTH = 4
_CHANGES = frozenset(("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_ATTR", "DELETE_ATTR"))
_CHANGES_CELLS = frozenset(("STORE_DEREF", "DELETE_DEREF"))
_MAY_CHANGE = frozenset(("setattr", "delattr", "globals", "exec", "eval", "vars"))

_pickles: WeakKeyDictionary[Any, tuple[tuple[Any, ...], bytes]] = WeakKeyDictionary()
"""What went into a function's pickle, and that."""

_codes: dict[types.CodeType, tuple[str, ...] | None] = {}
"""The names of globals that code may look at; None where it may change them, or variables around it."""

_MOST_CODES = 1000


def is_simple(function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], by_value: bool) -> bool:
    """Whether `pickle` alone makes of a call what it should: a function with a name, numbers and short texts."""
    if keywords or not (
        type(function) is types.BuiltinFunctionType
        or (type(function) is types.FunctionType and _goes_by_name(function, by_value))
    ):
        return False
    for value in args:
        kind = type(value)
        if kind not in _NUMBERS and not ((kind is str or kind is bytes) and len(value) <= _SHORT):
            return False
    return type(getattr(function, "__self__", None)) in _OWNERS


def named(function: Any, by_value: bool) -> tuple[str, str, bytes] | None:
    """The names of a function's module and its own, and what a call's pickle begins with; None for one by value."""
    kind = type(function)
    if kind is types.BuiltinFunctionType:
        if type(getattr(function, "__self__", None)) not in _OWNERS:
            return None
    elif kind is not types.FunctionType or not _goes_by_name(function, by_value):
        return None
    module, name = function.__module__, function.__qualname__
    if (
        type(module) is not str
        or not (module + name).isascii()
        or "." in name
        or len(module) > 255
        or len(name) > 255
    ):
        return None
    if getattr(sys.modules.get(module), name, None) is not function:
        return None
    spelled = (b"\x8c" + bytes([len(each)]) + each.encode() for each in (module, name))
    return module, name, b"\x80\x05(" + b"".join(spelled) + b"\x93"


def split(function: Any, by_value: bool) -> tuple[Any, tuple[Any, ...]]:
    """What stands for a function in a task, or None, and what its call begins with then."""
    if type(function) is str:
        return function, ()
    if type(function) is types.FunctionType and not _goes_by_name(function, by_value):
        pickle = _kept(function, by_value)
        if pickle is not None:
            return pickle, ()
    return None, (function,)


def _kept(function: types.FunctionType, by_value: bool) -> bytes | None:
    found = _parts(function, by_value, 0)
    if found is None:
        return None
    parts = (by_value, *found)
    known = _pickles.get(function)
    if known is not None and len(known[0]) == len(parts) and all(map(is_, known[0], parts)):
        return known[1]
    made = parcels.pickled(function, None, by_value)
    if len(made) > _MOST_BYTES:
        return None
    _pickles[function] = parts, made
    return made


def _parts(function: types.FunctionType, by_value: bool, depth: int) -> tuple[Any, ...] | None:
    """All that a function's pickle is made of; None where some of it may change unseen."""
    if depth > _MOST_DEPTH or function.__dict__ or function.__kwdefaults__:
        return None
    code = function.__code__
    names = _globals(code)
    if names is None:
        return None
    around = list(function.__defaults__ or ())
    for cell in function.__closure__ or ():
        try:
            around.append(cell.cell_contents)
        except ValueError:
            return None
    space = function.__globals__
    around += [space[name] for name in names if name in space]
    found: list[Any] = [code, len(around)]
    for value in around:
        if value is function:
            value = None  # what is kept must not keep it
        elif type(value) is types.FunctionType and not _goes_by_name(value, by_value):
            inner = _parts(value, by_value, depth + 1)
            if inner is None:
                return None
            found += inner
        elif not _is_constant(value, by_value):
            return None
        found.append(value)
    return tuple(found)


def _is_constant(value: Any, by_value: bool) -> bool:
    if type(value) in _ATOMS or type(value) is types.FunctionType:
        return True
    if type(value) is types.ModuleType:
        return not by_value or parcels.is_installed(value.__name__)
    return isinstance(value, type) and _goes_by_name(value, by_value)


def _goes_by_name(value: Any, by_value: bool) -> bool:
    return parcels.has_name(value) and (not by_value or parcels.is_installed(value.__module__))


def _globals(code: types.CodeType) -> tuple[str, ...] | None:
    if code not in _codes:
        if len(_codes) >= _MOST_CODES:
            _codes.clear()
        _codes[code] = _looked(code)
    return _codes[code]


def _looked(code: types.CodeType) -> tuple[str, ...] | None:
    import dis

    for each in dis.get_instructions(code):
        if each.opname in _CHANGES or (each.opname in _CHANGES_CELLS and each.argval in code.co_freevars):
            return None
    names = list(code.co_names)
    if not _MAY_CHANGE.isdisjoint(names):
        return None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _looked(constant)
            if inner is None:
                return None
            names += inner
    return tuple(dict.fromkeys(names))


def blamed(
    error: Exception, function: Any, args: tuple[Any, ...], keywords: Mapping[str, Any], by_value: bool
) -> Exception:
    """The error with what can't be pickled in front: "argument 1: ..."."""
    if type(error) not in (TypeError, AttributeError, ValueError, PicklingError, RecursionError):
        return error
    named = [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    named += [(f"argument {name!r}", value) for name, value in keywords.items()]
    for what, value in (*named, ("the function", function)):
        try:
            parcels.pickled(value, None, by_value)
        except Exception as found:
            return type(error)(f"{what}: {found}")
    return error
