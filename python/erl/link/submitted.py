"""Runs a submitted script: what `python script.py` does, with the packages that are found after `import erl`.

    python submitted.py SCRIPT ARGS...

The script is the module `__main__`, its directory the first of `sys.path`, and its tracebacks begin in it. Where it
asks for one of those packages, standard error says which one it met.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class _Met:
    """Finds nothing itself: looks on as others find such a package, and tells which. Once for each."""

    def __init__(self, names: tuple[str, ...], socket: str) -> None:
        self._names = set(names)
        self._socket = socket

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """What the import system asks."""
        if name not in self._names:
            return None
        self._names.remove(name)
        from importlib.util import find_spec

        from erl.names.facades import is_ours

        spec = find_spec(name)
        if spec is not None and is_ours(spec):
            print(f"erl submit: {name} is the one of erl, on the node at {self._socket}", file=sys.stderr)
        elif spec is not None and spec.origin is not None:
            print(f"erl submit: {name} is {spec.origin}, which has nothing of the node", file=sys.stderr)
        return spec


def _shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


def _run(script: str, arguments: list[str]) -> None:
    import os
    import types

    is_safe = getattr(sys.flags, "safe_path", sys.flags.isolated)
    if not is_safe:
        sys.path[:1] = []  # the directory of this file
    try:
        from erl.names import facades
    except ImportError:
        # Whoever submits found it in the working directory.
        sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        from erl.names import facades
    if not is_safe:
        sys.path.insert(0, os.path.dirname(script))
    sys.argv[:] = [script, *arguments]
    sys.meta_path.insert(0, _Met(facades.NAMES, os.environ.get("ERL_NODE", "")))
    sys.excepthook = _shown
    with open(script, "rb") as file:
        source = file.read()
    if b"\0" in source:  # no text: compiled, or an archive with a program in it
        import runpy

        runpy.run_path(script, run_name="__main__")
        return
    from importlib.machinery import SourceFileLoader

    main: Any = types.ModuleType("__main__")
    main.__file__, main.__builtins__, main.__cached__ = script, sys.modules["builtins"], None
    main.__loader__ = SourceFileLoader("__main__", script)
    sys.modules["__main__"] = main
    exec(compile(source, script, "exec", dont_inherit=True), main.__dict__)


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2:])
