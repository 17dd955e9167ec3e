"""An interpreter with an environment's packages, put into a directory from which it runs wherever that is moved to.

Run as a program, with nothing but the standard library, by the interpreter of the environment:
`bundle.py DIRECTORY copy|link`. `copy` takes the interpreter and its standard library along; `link` has the one that
the environment was made from, by its path, which the other machine must have, too. The package `erl` stays behind:
workers get it from the application.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig

LIBRARY = f"python{sys.version_info[0]}.{sys.version_info[1]}"
"""The directory below `lib/`."""

NOT_NEEDED = (
    "__pycache__",
    "site-packages",
    "dist-packages",
    "test",
    "idlelib",
    "turtledemo",
    "tkinter",
    "lib2to3",
    "config-*",
)
"""Of the standard library: tests and windows, packages of its own, and what extensions are linked with."""

SITE = "import os, site; site.addsitedir(os.path.join(os.path.dirname(os.__file__), 'site-packages'))\n"
"""For an interpreter that looks for packages elsewhere, as Debian's does."""

BESIDE = b"$ORIGIN/../lib"
"""As the system's loader has it (ld.so(8))."""

CHECK = "import sys, sysconfig, os; print(os.path.realpath(sys.prefix)); print(*sys.path, sep='\\n')"


def main() -> None:
    """Make the directory anew; a message and status 1 where it can't be moved."""
    directory, way = sys.argv[1:]
    shutil.rmtree(directory, ignore_errors=True)
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    library = os.path.join(directory, "lib", LIBRARY)
    os.makedirs(os.path.join(directory, "bin"))
    os.makedirs(os.path.join(directory, "lib"))
    python = os.path.join(directory, "bin", "python")
    if way == "copy":
        copy_interpreter(base, python, directory, library)
    else:
        os.symlink(base, python)
        with open(os.path.join(directory, "pyvenv.cfg"), "w", encoding="utf-8") as file:
            file.write(f"home = {os.path.dirname(base)}\ninclude-system-site-packages = false\n")
    packages = os.path.join(library, "site-packages")
    copy_packages(sysconfig.get_path("purelib"), packages)
    if packages not in paths(python, directory):
        with open(os.path.join(library, "sitecustomize.py"), "w", encoding="utf-8") as file:
            file.write(SITE)
    if packages not in paths(python, directory):
        sys.exit(f"{base} can't be moved: it does not look for packages in {packages}")
    compileall.compile_dir(library, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def copy_interpreter(base: str, python: str, directory: str, library: str) -> None:
    """The executable, the shared library where it is one, and the standard library."""
    shutil.copy2(base, python)
    name, where = (str(sysconfig.get_config_var(each)) for each in ("INSTSONAME", "LIBDIR"))
    if look_beside(python, base, where, name):
        shutil.copy2(os.path.join(where, name), os.path.join(directory, "lib", name))
    shutil.copytree(os.path.dirname(os.__file__), library, ignore=shutil.ignore_patterns(*NOT_NEEDED))


def look_beside(python: str, base: str, where: str, name: str) -> bool:
    """Have the executable look for its shared library in the `lib` beside its own directory, in place of a path; False
    where it has none.
    """
    with open(python, "rb") as file:
        code = file.read()
    path = os.fsencode(where) + b"\0"
    if os.fsencode(name) not in code:
        return False
    if BESIDE in code:
        return True
    if path not in code or len(path) <= len(BESIDE):
        sys.exit(
            f"{base} can't be moved: it looks for {name} in the system's directories only. "
            "Take the interpreter of the other machine (--link), or one that is made to be moved (uv python install)"
        )
    with open(python, "wb") as file:
        file.write(code.replace(path, BESIDE.ljust(len(path), b"\0")))
    return True


def copy_packages(source: str, target: str) -> None:
    """All of them but the application's own, which is a link, and what names the directory that they were in."""

    def left_out(directory: str, names: list[str]) -> set[str]:
        own = {"erl", "_virtualenv.py", "_virtualenv.pth"} if directory == source else set()
        return {name for name in names if name in own or name == "__pycache__"}

    shutil.copytree(source, target, ignore=left_out)


def paths(python: str, directory: str) -> list[str]:
    """Where the interpreter looks for modules; a message and status 1 where it is not that of the directory."""
    said = subprocess.run([python, "-I", "-B", "-c", CHECK], check=False, capture_output=True, text=True)
    prefix, *found = said.stdout.splitlines() or [""]
    if said.returncode or prefix != os.path.realpath(directory):
        sys.exit(f"the interpreter in {directory} does not run from there: {said.stderr.strip() or prefix}")
    return [os.path.abspath(path) for path in found]


if __name__ == "__main__":
    main()
