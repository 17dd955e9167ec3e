"""Pickles by value, as cloudpickle makes them, in which code keeps the name of its file.

A traceback finds its lines by that name. Cloudpickle passes it on before its version 3.1.3; since then it puts
`<dynamic-code>` in its place.
"""

from __future__ import annotations

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
