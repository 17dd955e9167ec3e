"""Pickles by value, as cloudpickle makes them, in which code keeps the name of its file.

A traceback finds its lines by that name. Cloudpickle passes it on before its version 3.1.3; since then it puts
`<dynamic-code>` in its place.

Bytecode is that of one minor version of Python: another one may end where it runs it. So such a pickle asks first.
"""

from __future__ import annotations

import sys

from erl import errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

_FILE = 10
"""Where `types.CodeType` takes the file's name, since CPython 3.8: behind the names of the variables."""

_pickler: Any = None


def pickler() -> Any:
    """A `pickle.Pickler` of cloudpickle's. Raises `ImportError` where that is missing."""
    import cloudpickle  # type: ignore[import-untyped]

    global _pickler
    if _pickler is None:
        from types import CodeType

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
            # Code in the constants of other code comes by here too.
            dispatch_table = cloudpickle.Pickler.dispatch_table.new_child({CodeType: _reduced})

        _pickler = Pickler
    return _pickler


def _reduced(code: CodeType) -> tuple[Any, ...]:
    import cloudpickle

    make, args = cloudpickle.Pickler.dispatch_table[type(code)](code)
    return make, (*args[:_FILE], code.co_filename, *args[_FILE + 1 :])


def asking(data: bytes) -> bytes:
    """A pickle by value that is read by a Python of this one's version alone."""
    major, minor = sys.version_info[:2]
    # GLOBAL, BININT1 twice, TUPLE2, REDUCE, POP (pickletools): before all else, and nothing of it stays.
    ask = b"cerl.values.by_value\nask\nK%cK%c\x86R0" % (major, minor)
    return data[:2] + ask + data[2:]


def ask(major: int, minor: int) -> None:
    """What such a pickle asks where it is read. Raises `errors.NodeError`."""
    if (major, minor) != sys.version_info[:2]:
        ours = ".".join(map(str, sys.version_info[:2]))
        raise errors.NodeError(
            f"code of Python {major}.{minor}, which went by value, is not read by Python {ours}: "
            "put the function into a module that is installed for both"
        )
