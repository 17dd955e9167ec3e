"""The version of the distribution, its compiled codec, and its Erlang half; all else is in pyproject.toml.

The version lives in erlang/py.app.src. An sdist does not hold that file: there it is read from PKG-INFO, where the
build of the sdist has put it.

The codec is compiled where there are Cython and a compiler. Where one is missing the package installs all the same, and
works with the codec in Python.

The Erlang half, which `erl.start()` runs, is compiled by `erlc` into `erl/otp/ebin`, from the clone or from what the
sdist has of it. Without Erlang the package installs without: `erl.start()` says then what is missing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

try:
    import Cython
except ImportError:
    Cython = None

HERE = Path(__file__).resolve().parent
APP_SRC = HERE.parent / "erlang" / "py.app.src"
PKG_INFO = HERE / "PKG-INFO"
ERLANG = APP_SRC.parent if APP_SRC.is_file() else HERE / "erl" / "otp" / "erlang"
"""The sources of the Erlang half, in a clone and in an sdist."""


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


def compile_erlang(ebin: Path) -> None:
    """Compile the Erlang half into a new directory; where that can't be done, say why and make none."""
    shutil.rmtree(ebin, ignore_errors=True)
    sources = sorted(str(source) for source in ERLANG.glob("*/*.erl"))
    erlc = shutil.which("erlc")
    if not sources or erlc is None:
        print(
            f"erl.start() will need Erlang: {'no sources' if erlc else 'no erlc on PATH'} here",
            file=sys.stderr,
        )
        return
    ebin.mkdir(parents=True)
    # Behaviours are asked for what they want while others are compiled.
    first = [source for source in sources if "-callback" in Path(source).read_text(encoding="utf-8")]
    rest = [source for source in sources if source not in first]
    for some in (first, rest):
        command = [erlc, "+debug_info", "-pa", str(ebin), "-o", str(ebin), *some]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            shutil.rmtree(ebin)
            print("the Erlang half does not compile: it takes Erlang/OTP 25 or later", file=sys.stderr)
            return
    modules = ", ".join(f"'{Path(source).stem}'" for source in sources)
    text = (ERLANG / "py.app.src").read_text(encoding="utf-8")
    (ebin / "py.app").write_text(text.replace("{modules, []}", f"{{modules, [{modules}]}}"), encoding="utf-8")


class BuildBoth(build_py):
    """The Python half, and the Erlang half inside it. An editable install uses what the clone has built."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            compile_erlang(Path(self.build_lib, "erl", "otp", "ebin"))


class SourceOfBoth(sdist):
    """The sources of both halves."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        into = Path(base_dir, "erl", "otp", "erlang")
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(ERLANG, into)


setup(version=version(), cmdclass={"build_py": BuildBoth, "sdist": SourceOfBoth}, **compiled_codec())
