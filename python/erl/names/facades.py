"""Finds the packages of other people's drivers that are in `erl` here, where nobody else has one.

`import erl` appends the finder to `sys.meta_path`, in programs and in workers alike. (`erlport` and `hxpy` are for
workers alone, and found by `erl.names.finder`.)
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
    return str(spec.origin).startswith(_FACADES)


def _is_bare(package: Any) -> bool:
    return package is not None and getattr(package, "__file__", None) is None
