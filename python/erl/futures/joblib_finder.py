"""Tells joblib of the backend "erl": at once where the program has imported joblib, else as soon as it does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def watch() -> None:
    """Register the backend now or later. Said again, it does nothing."""
    parallel = sys.modules.get("joblib.parallel")
    if parallel is not None and hasattr(parallel, "register_parallel_backend"):
        parallel.register_parallel_backend("erl", _backend)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _backend(**keywords: Any) -> Any:
    from erl.futures.joblib import ErlBackend

    return ErlBackend(**keywords)


class _Finder:
    """Finds nothing itself: looks on as joblib is imported, and leaves then; not where somebody only asks for it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "joblib":
            return None
        spec: ModuleSpec | None = None
        for finder in list(sys.meta_path):
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    break
        loader: Any = None if spec is None else spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return spec
        execute = loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            watch()

        loader.exec_module = executed
        return spec
