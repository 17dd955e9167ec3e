"""What of the file system an interpreter is made of: the paths that a sandbox must show it.

Run as a program by the interpreter in question; prints its own name, then the paths, each before a NUL.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from os import readlink

_SHARED_PREFIXES = ("/", "/usr", "/usr/local")
"""Prefixes that hold the rest of the system, too: of these the parts that Python uses are named one by one."""
_LIBRARIES = ("/lib", "/lib64", "/usr/lib64")
_LOADER_CACHE = "/etc/ld.so.cache"


def footprint() -> list[str]:
    """Existing absolute paths, in no order; some lie below others."""
    found: set[str] = set(_libraries()) | set(_mapped())
    for executable in (sys.executable, getattr(sys, "_base_executable", sys.executable)):
        found |= _hops(executable)
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix):
        if prefix not in _SHARED_PREFIXES:
            found |= {prefix, os.path.realpath(prefix)}
    found |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    # The first entry is this program's own directory.
    found |= set(sys.path[1:])
    return [path for path in found if os.path.isabs(path) and os.path.exists(path)]


def _hops(path: str) -> set[str]:
    """A file, and what it leads to where it is a link."""
    hops = {path}
    while os.path.islink(path):
        path = os.path.normpath(os.path.join(os.path.dirname(path), readlink(path)))
        if path in hops:
            break
        hops.add(path)
    return hops | {os.path.realpath(path)}


def _libraries() -> list[str]:
    """Where the loader looks for shared libraries."""
    architecture = sysconfig.get_config_var("MULTIARCH")
    own = f"/usr/lib/{architecture}" if architecture else ""
    if own and os.path.isdir(own):
        return [own, f"/lib/{architecture}", "/lib64", _LOADER_CACHE]
    return [*_LIBRARIES, "/usr/lib", _LOADER_CACHE]


def _mapped() -> set[str]:
    """The shared libraries that this process has loaded, wherever they lie."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(None, 5) for line in file]
    except OSError:
        return set()
    return {line[5] for line in lines if len(line) == 6 and "x" in line[1] and line[5].startswith("/")}


if __name__ == "__main__":
    sys.stdout.buffer.write(b"".join(os.fsencode(path) + b"\0" for path in [sys.executable, *footprint()]))
