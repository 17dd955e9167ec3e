"""Objects that outlive their Python: pickles, signed with the key of the node's `state_dir`.

A pickle is code that runs when it is read, so one is read only if this node's key has signed it. The key is made once,
and stays: what was signed before a restart is read after it.
"""

from __future__ import annotations

import sys

from erl import errors
from erl.functions import boxed, loading, nodes
from erl.values import callout, opaque

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

FORMAT: Final = "pickle"
"""What the `spec` of an artifact says whose content is one."""


def dumps(value: Any) -> bytes:
    """The signed pickle; classes and functions of a function's source are in it, so that others can read it.

    Raises `errors.NotPicklableError`, `errors.EncodeError`.
    """
    if boxed.current() is not None:
        raise errors.EncodeError(
            f"it is of the type {type(value).__name__}, and {boxed.NO_PICKLES}: "
            "what JSON can say, bytes, a data frame or a logged file does"
        )
    pickles = _pickles()
    sources = [
        module for name, module in sys.modules.items() if name.startswith(loading.PREFIX) and "." not in name
    ]
    if not sources:
        return pickles.dumps(value)
    what = f"pickling a {type(value).__name__}"
    return pickles.signed(callout.run(errors.EncodeError, what, _with_sources, value, sources))


def _with_sources(value: Any, sources: list[Any]) -> bytes:
    import cloudpickle  # type: ignore[import-untyped]

    from erl.values import by_value

    for module in sources:
        cloudpickle.register_pickle_by_value(module)
    try:
        pickled = opaque.pickled_by(by_value.pickler(), value)
    finally:
        for module in sources:
            cloudpickle.unregister_pickle_by_value(module)
    return by_value.asking(pickled) if _has_code(pickled) else pickled


def _has_code(pickled: bytes) -> bool:
    """Whether there is bytecode in it, which one version of Python reads."""
    return b"_make_function" in pickled or b"_make_skeleton_class" in pickled


def loads(data: bytes) -> Any:
    """The object. Raises `errors.DecodeError` for what this node has not signed, and for what can't be read."""
    return _pickles().loads(data)


def read(path: str, what: str) -> Any:
    """The object in a file; `what` is its name in an error."""
    with open(path, "rb") as file:
        data = file.read()
    pickles = _pickles()
    try:
        pickles.verify(data)
    except errors.DecodeError:
        raise errors.DecodeError(
            f"{what} is not read: it is no pickle that the key of this node's state_dir has signed"
        ) from None
    try:
        return pickles.loads(data, unsigned=True)
    except errors.DecodeError as error:
        raise errors.DecodeError(f"{what}: {error}") from error


def _pickles() -> opaque.Pickles:
    if boxed.current() is not None:
        raise errors.DecodeError(f"it is a pickle, and {boxed.NO_PICKLES}")
    pickles = opaque.Pickles()
    pickles.set_key(nodes.call("py_function", "key", []))
    return pickles
