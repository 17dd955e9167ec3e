"""The version of the distribution, and its compiled codec; all else is in pyproject.toml.

The version lives in erlang/py.app.src. An sdist does not hold that file: there it is read from PKG-INFO, where the
build of the sdist has put it.

The codec is compiled where there are Cython and a compiler. Where one is missing the package installs all the same, and
works with the codec in Python.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from setuptools import Extension, setup

try:
    import Cython
except ImportError:
    Cython = None

HERE = Path(__file__).resolve().parent
APP_SRC = HERE.parent / "erlang" / "py.app.src"
PKG_INFO = HERE / "PKG-INFO"


def version() -> str:
    """The version, or SystemExit where neither file has one."""
    for path, pattern in ((PKG_INFO, r"^Version: (.+)$"), (APP_SRC, r'\{vsn, *"([^"]+)"\}')):
        if path.is_file() and (found := re.search(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)):
            return found[1]
    raise SystemExit(
        f"no version in {APP_SRC} or {PKG_INFO}: build erl-bridge from a clone of its repository or from an sdist"
    )


def compiled_codec() -> dict[str, Any]:
    """What `setup` is told of the extension. Its C goes to the build directory, not beside its source."""
    if Cython is None:
        return {}
    codec = Path("erl", "codec")
    extension = Extension(
        "erl.codec.native",
        sources=[str(codec / "native.pyx")],
        depends=sorted(str(part.relative_to(HERE)) for part in (HERE / codec).glob("native_*.pxi")),
        extra_compile_args=["-O2", "-g0"],
        optional=True,
    )
    return {"ext_modules": [extension], "options": {"build_ext": {"cython_c_in_temp": True}}}


setup(version=version(), **compiled_codec())
