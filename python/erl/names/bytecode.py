"""Modules as their sources are now, not as their bytecode has them.

Python takes the bytecode it has kept for that of any source of the same size whose time, in whole seconds, is the same:
https://docs.python.org/3/reference/import.html#cached-bytecode-invalidation. An edit within the second of the last one
would not be seen, by a module that is loaded again nor by the interpreter after this one.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_SETTLED_SECONDS = 2
"""A source that has not changed for so long has another time once it does."""

_from_source: set[str] = set()
"""The names of modules that are being loaded without their bytecode."""


def guard() -> None:
    """Keep no bytecode of a source that was changed just now. (Once; all later imports are loaded so.)"""
    loader: Any = sys.modules[
        "_frozen_importlib_external"
    ].SourceFileLoader  # `importlib.machinery` has more to import
    if loader.set_data.__module__ == __name__:
        return
    import os
    from time import time

    # Kept here, where nobody puts others in their place.
    read, write, now = loader.get_data, loader.set_data, time
    cached: Any = sys.modules["_frozen_importlib_external"].cache_from_source

    def get_data(self: Any, path: str) -> bytes:
        if self.name in _from_source and path == cached(self.path):
            os.unlink(path)  # an OSError, as for what is not there, is that there is none
            raise FileNotFoundError(path)
        return read(self, path)  # type: ignore[no-any-return]

    def set_data(self: Any, path: str, data: bytes, **rest: Any) -> None:
        try:
            age_seconds = now() - os.stat(self.path).st_mtime
        except OSError:
            return
        if age_seconds > _SETTLED_SECONDS:
            write(self, path, data, **rest)

    loader.get_data, loader.set_data = get_data, set_data


def reload(module: ModuleType) -> None:
    """`importlib.reload` from the source. Bytecode of before is deleted: the next interpreter would read it."""
    import importlib

    guard()
    name = module.__name__
    _from_source.add(name)
    try:
        importlib.invalidate_caches()
        importlib.reload(module)
    finally:
        _from_source.discard(name)
        _forget_lines(getattr(module, "__file__", None))


def _forget_lines(file: str | None) -> None:
    """Tracebacks show lines of the file as it is."""
    lines = sys.modules.get("linecache")
    if lines is not None and file is not None:
        lines.cache.pop(file, None)
