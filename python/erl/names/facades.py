"""Finds the packages of other people's drivers that are in `erl` here, where nobody else has one.

`import erl` appends the finder to `sys.meta_path`, in programs and in workers alike. (`erlport` and `hxpy` are for
workers alone, and found by `erl.names.finder`.) Programs that import one first, before `erl`, find a module of its name
beside `erl` (`digitalhub.py`): a real package in that directory comes before a module, and one anywhere else on the
path is taken in its place (`stand_in`).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

NAMES: Final = ("twister2", "digitalhub", "digitalhub_runtime_python")

_FACADES = __file__.rpartition("names/")[0] + "facades/"


class Facades:
    """Finds them and what is in them. It stands last: whoever has a real one has that one.

    A bare directory of the name is none: what it lacks is found here.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        """What the import system asks when nobody else has found it."""
        top, _, below = name.partition(".")
        if top not in NAMES or (below and not _is_bare(sys.modules.get(name.rpartition(".")[0]))):
            return None
        from importlib.util import spec_from_file_location
        from os.path import isfile

        home = _FACADES + name.replace(".", "/")
        if isfile(f"{home}/__init__.py"):
            return spec_from_file_location(name, f"{home}/__init__.py", submodule_search_locations=[home])
        return spec_from_file_location(name, f"{home}.py") if isfile(f"{home}.py") else None


def append() -> None:
    """Have it found from now on. Said again, it does nothing."""
    if Facades not in sys.meta_path:
        sys.meta_path.append(Facades)


def is_ours(spec: Any) -> bool:
    """Whether that is one of them: what somebody asks who tells it on."""
    return str(spec.origin).startswith(_FACADES) or _is_stand_in(spec)


def stand_in(name: str) -> None:
    """Have the module of that name, which is being imported, be the package: a real one, else ours."""
    from importlib.util import module_from_spec

    found = _real(name) or Facades.find_spec(name)
    made = module_from_spec(found)
    sys.modules[name] = made
    found.loader.exec_module(made)


def _real(name: str) -> Any:
    """The spec of a package of that name that is neither ours nor a bare directory."""
    from importlib.machinery import PathFinder

    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is None or finder is Facades:
            continue
        # Behind ours there may be another one on the path.
        for path in ([each] for each in list(sys.path)) if finder is PathFinder else (None,):
            spec = find(name, path)
            if spec is not None and spec.origin is not None and not is_ours(spec):
                return spec
    return None


def _is_stand_in(spec: Any) -> bool:
    """Whether that is the module beside an `erl`, also another version's."""
    from os.path import dirname, isfile

    home = dirname(str(spec.origin))
    return spec.origin == f"{home}/{spec.name}.py" and isfile(f"{home}/erl/facades/{spec.name}/__init__.py")


def _is_bare(package: Any) -> bool:
    return package is not None and getattr(package, "__file__", None) is None
