"""What `py:doctor/0` asks of an interpreter: who it is, what it has, what it lacks, and what to do about it.

Needs nothing of what it looks for. A line that begins with `!` is about what py can't do without.
"""

from __future__ import annotations

import sys

_OPTIONAL = (
    ("cloudpickle", "functions, lambdas and classes of sessions can't be pickled"),
    ("numpy", "no arrays"),
    ("pandas", "no data frames of pandas"),
    ("polars", "no data frames of polars"),
    ("pyarrow", "no frames => arrow of pandas"),
    ("uvloop", "no event_loop => uvloop"),
)


def report() -> list[str]:
    """The lines."""
    lines = [f"Python {sys.version.split()[0]}, {sys.executable}"]
    erlang = _version("erlang-py") if _is_there("erlang") else None
    if erlang is None:
        lines.append(
            f"! erlang-py is missing, which reads Erlang's terms: {sys.executable} -m pip install erlang-py"
        )
    else:
        lines += [f"erlang-py {erlang}", _codec()]
    for name, without in _OPTIONAL:
        version = _version(name) if _is_there(name) else None
        lines.append(f"{name} is missing: {without}" if version is None else f"{name} {version}")
    return lines


def _codec() -> str:
    try:
        from erl import codec
    except Exception as error:
        return f"! the codec can't be loaded: {type(error).__name__}: {error}"
    if codec.implementation == "native":
        return "codec native, the compiled one"
    return f"codec reference, the slow one in Python: for the compiled one {_how_to_compile()}"


def _how_to_compile() -> str:
    """What to type, for this interpreter and the sources that this package is from."""
    import os
    import shlex
    import shutil
    import sysconfig

    import erl

    # In a dependency and in a clone the sources are around it, in a release they are not.
    source = os.path.dirname(os.path.dirname(os.path.realpath(erl.__file__ or "")))
    python = shlex.quote(sys.executable)
    if not os.path.isfile(os.path.join(source, "setup.py")):
        return f"install a wheel of erl-bridge, of this version, in {python}: see docs/setup.md"
    install = f"{python} -m pip install {shlex.quote(source)}"
    headers = os.path.join(sysconfig.get_path("include"), "Python.h")
    if shutil.which(os.environ.get("CC", "cc")) and os.path.isfile(headers):
        return install
    return f"install a C compiler and Python's headers (apt-get install gcc libc6-dev python3-dev), then {install}"


def _is_there(module: str) -> bool:
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None


def _version(distribution: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "(of an unknown version)"
