"""The versions of Python that are here, and which of them a function has that asks for one."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
import warnings

from erl import errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Final

OLDEST: Final = 10
"""The minor version that `erl` needs."""
_ANSWER_SECONDS: Final = 20
_ASKED: Final = re.compile(r"(?:PYTHON)?3[_.](\d{1,2})")

_runs: dict[str, bool] = {}


def version_for(asked: object) -> str:
    """The version that a function has, "3.11": the one asked for, else the lowest that is not older, with a warning.

    Raises `errors.EntityError` for what is no version, and for one that is newer than all that are here.
    """
    if asked is None:
        return f"3.{sys.version_info[1]}"
    found = _ASKED.fullmatch(asked.upper()) if isinstance(asked, str) else None
    if found is None:
        raise errors.EntityError(
            f"python_version is PYTHON3_9, PYTHON3_10, PYTHON3_11 and so on, not {asked!r:.60}"
        )
    wanted = int(found[1])
    known = interpreters()
    for minor in sorted(known):
        if minor >= wanted and _does_run(known[minor]):
            if minor != wanted:
                warnings.warn(
                    f"Python 3.{wanted} is not here: the function has Python 3.{minor}",
                    UserWarning,
                    stacklevel=3,
                )
            return f"3.{minor}"
    there = ", ".join(f"PYTHON3_{minor}" for minor in sorted(known))
    raise errors.EntityError(f"python_version {asked} is newer than all that are here: {there}")


def interpreters() -> dict[int, str]:
    """The interpreters of CPython 3.10 and later that are here, by their minor versions: this one, those on `PATH`,
    those of pyenv and uv.
    """
    found = {sys.version_info[1]: sys.executable or "python3"}
    for path in _candidates():
        minor = int(os.path.basename(path).rpartition(".")[2])
        if minor >= OLDEST and minor not in found and os.access(path, os.X_OK):
            found[minor] = path
    return found


def _candidates() -> list[str]:
    home = os.path.expanduser("~")
    pyenv = os.environ.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(data, "uv", "python")
    directories = [each for each in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(each)]
    # pyenv's shims are there for versions that nobody has chosen, too.
    directories = [each for each in directories if os.path.basename(os.path.normpath(each)) != "shims"]
    for root in (os.path.join(pyenv, "versions"), uv):
        directories += sorted(glob.glob(os.path.join(glob.escape(root), "*", "bin")))
    found = []
    for directory in directories:
        found += sorted(glob.glob(os.path.join(glob.escape(directory), "python3.[0-9]*")))
    return [path for path in found if re.fullmatch(r"python3\.\d{1,2}", os.path.basename(path))]


def _does_run(path: str) -> bool:
    if path == sys.executable:
        return True
    if path not in _runs:
        try:
            done = subprocess.run(
                [path, "-ISc", ""],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_ANSWER_SECONDS,
                check=False,
            )
            _runs[path] = done.returncode == 0
        except (OSError, subprocess.SubprocessError):
            _runs[path] = False
    return _runs[path]
