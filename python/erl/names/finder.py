"""Finds what goes by another name: packages that stand for somebody else's, and modules by their former names."""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec  # `importlib.machinery` has more to import

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

_FACADES = __file__.rpartition("names/")[0] + "facades/"

FORMER = {
    "erl.objects": "erl.calls.objects",
    "erl.parallel": "erl.calls.parallel",
    "erl.plain": "erl.values.plain",
    "erl.pushed": "erl.calls.pushed",
    "erl.references": "erl.calls.references",
    "erl.session": "erl.calls.session",
    "erl.streams": "erl.calls.streams",
    "erl.worker": "erl.calls.worker",
}
"""What an application, or a pickle, of the version before says, and what that is now. For one version."""


class Finder:
    """Finds the packages `erlport` and `hxpy`, which are in `erl` here, where nobody has one that works.

    It stands first on `sys.meta_path` and asks the others first. A module or package of the user's own is taken,
    whenever it comes to `sys.path`; a bare directory is none, and neither is ErlPort's own package, which knows nothing
    of the worker that it would be in. A start costs nothing of it.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        """What the import system asks."""
        if name in FORMER:
            loader: Any = _Renamed(FORMER[name])
            return ModuleSpec(name, loader)
        if name not in ("erlport", "hxpy"):
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if find is None or finder is Finder:
                continue
            spec = find(name, path, target)
            if spec is not None and spec.origin is not None and not _is_erlports_own(spec):
                return spec
        from importlib.util import spec_from_file_location

        directory = _FACADES + name
        return spec_from_file_location(
            name, directory + "/__init__.py", submodule_search_locations=[directory]
        )


class _Renamed:
    """Loads a module by its former name: it is the same one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: Any = None

    def create_module(self, _spec: Any) -> ModuleType:
        __import__(self._name)
        module = sys.modules[self._name]
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has put that of the former name there


def _is_erlports_own(spec: Any) -> bool:
    from os.path import exists

    return any(exists(f"{directory}/erlproto.py") for directory in spec.submodule_search_locations or ())
