"""Interpreters that pools may have, beside this process's own: their versions, and what of its path is for them."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any, Final

_ANSWER_SECONDS: Final = 20

_versions: dict[str, bool] = {}


def is_of_this_version(python: Any) -> bool:
    """Whether a pool's option `python` names an interpreter that reads this one's libraries.

    One that does not run is taken for one: whoever starts it says what is wrong.
    """
    if type(python) is tuple and len(python) == 2:  # ("venv", directory)
        python = os.path.join(_text(python[1]), "bin", "python")
    named = _text(python or sys.executable)
    if named == sys.executable:
        return True
    if named not in _versions:
        _versions[named] = _asked(named)
    return _versions[named]


def _asked(python: str) -> bool:
    import subprocess

    asked = "import sys; print(sys.implementation.cache_tag)"
    try:
        done = subprocess.run(
            [python, "-ISc", asked],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return True
    return done.returncode == 0 and done.stdout.strip() == sys.implementation.cache_tag


def _text(value: Any) -> str:
    return os.fsdecode(value) if isinstance(value, (str, bytes, os.PathLike)) else str(value)


def without_own(path: list[str]) -> list[str]:
    """What on a path is the program's: not its interpreter's library, or what is installed for that."""
    import site
    import sysconfig

    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    own = [*(sysconfig.get_path(kind) for kind in kinds), site.getusersitepackages(), *site.getsitepackages()]
    stdlib = os.path.dirname(os.path.abspath(os.__file__))
    own += [stdlib, f"{os.path.dirname(stdlib)}/python{sys.version_info[0]}{sys.version_info[1]}.zip"]
    return [
        entry for entry in path if not any(entry == each or entry.startswith(each + os.sep) for each in own)
    ]
