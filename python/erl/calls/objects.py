"""What the API of Erlang calls beside the wrappers: the builtins that need a hand, and changes that make a copy.

The wrappers are here as well, under the names that Erlang says; where a call brings mapping flags, the server has made
it ready (`erl.names.lookup`).
"""

from __future__ import annotations

import sys

from erl.names import bytecode
from erl.names.lookup import attr, call, const, method, name_of
from erl.terms import Atom

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "attr",
    "call",
    "const",
    "delitem",
    "help",
    "method",
    "ptype",
    "reload",
    "setattr",
    "setitem",
    "vars",
]


def help(subject: object) -> str:  # noqa: A001 (the API's name)
    """The text that Python's `help` would show, without the pager."""
    import pydoc

    plain: Any = pydoc.plaintext  # type: ignore[attr-defined]  # not in typeshed
    return pydoc.render_doc(subject, renderer=plain)


def vars(obj: object) -> dict[str, object]:  # noqa: A001 (the API's name)
    """An object's variables as a plain dict; a class's are a view otherwise."""
    import builtins

    return dict(builtins.vars(obj))


def reload(name: object) -> bool:
    """Load a module again, from its source as that is now; False where it is not loaded."""
    module = sys.modules.get(name_of(name))
    if module is None:
        return False
    bytecode.reload(module)
    return True


def ptype(obj: object) -> Atom:
    """The name of an object's type, as an atom."""
    return Atom(type(obj).__name__)


def setitem(obj: Any, key: object, value: object) -> object:
    """A copy of `obj` in which `key` is `value`."""
    changed = _copy(obj)
    changed[key] = value
    return changed


def delitem(obj: Any, key: object) -> object:
    """A copy of `obj` without `key`."""
    changed = _copy(obj)
    del changed[key]
    return changed


def setattr(obj: Any, name: object, value: object) -> object:  # noqa: A001 (the API's name)
    """A copy of `obj` whose attribute `name` is `value`."""
    import builtins

    changed = _copy(obj)
    builtins.setattr(changed, name_of(name), value)
    return changed


def _copy(obj: object) -> Any:
    import copy

    return copy.copy(obj)
