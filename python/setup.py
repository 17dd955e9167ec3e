"""The version of the distribution; all else is in pyproject.toml.

The version lives in erlang/py.app.src. An sdist does not hold that file: there it is read from PKG-INFO, where the build of the
sdist has put it.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
APP_SRC = HERE.parent / "erlang" / "py.app.src"
PKG_INFO = HERE / "PKG-INFO"


def version() -> str:
    """The version, or SystemExit where neither file has one."""
    for path, pattern in ((PKG_INFO, r"^Version: (.+)$"), (APP_SRC, r'\{vsn, *"([^"]+)"\}')):
        if path.is_file() and (found := re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)):
            return found[1]
    raise SystemExit(f"no version in {APP_SRC} or {PKG_INFO}: build erl-bridge from a clone of its repository or from an sdist")


setup(version=version())
