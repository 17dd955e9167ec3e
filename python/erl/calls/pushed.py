"""Source files of modules, on their way to the workers of other nodes."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 64 << 20
_MOST_FILES = 10_000
_IMPORT_SECONDS = 20
_TRY = """
import json, sys
name, sys.path[:] = json.load(sys.stdin)
for known in [each for each in sys.modules if each == name or each.startswith(name + ".")]:
    del sys.modules[known]
try:
    import importlib
    importlib.import_module(name)
except BaseException as error:
    sys.__stderr__.write("\\n" + json.dumps([type(error).__name__, str(error)]))
    sys.__stderr__.flush()
    import os
    os._exit(1)
"""
_OURS = frozenset(("erl", "erlang", "erlport", "hxpy", "cloudpickle"))


def source(
    name: str | bytes, is_sent: bool = True, replaces: bool = False
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The top-level module or package that `name` is in, and its files: paths relative to a directory of `sys.path`.

    It is imported in a fresh interpreter first, see `tried`. Raises what that raises, `ModuleNotFoundError` where it
    can't be found here, `SyntaxError` where a file can't be compiled,
    `ValueError` where it has no source file, where its files are more than 64 MiB or compiled ones are among them, and
    for what would break the workers of other nodes: this package, and where it `is_sent` what belongs to Python, unless
    it `replaces` that.
    """
    import importlib.util
    from pathlib import Path

    from erl.names.lookup import name_of

    top = name_of(name).partition(".")[0]
    if top in _OURS:
        raise ValueError(f"{top} is what workers are made of: start the node with this version of py instead")
    if is_sent and not replaces and top in sys.stdlib_module_names:
        raise ValueError(
            f"{top} belongs to Python: workers of other nodes have their own (replace => true sends it all the same)"
        )
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {top!r}", name=top)
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise ValueError(f"{top} is no module with a source file: {spec.origin or 'a namespace package'}")
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        files = [(origin.name.encode(), origin.read_bytes())]
    else:
        files = _package(top, origin.parent)
    for path, content in files:
        if path.endswith(b".py"):
            compile(content, path.decode(), "exec", dont_inherit=True)
    tried(None, top)
    return top.encode(), files


def tried(directory: str | None, name: str) -> None:
    """Import the module in a fresh interpreter like this one, with `directory` before its path.

    Raises what the import raises where that is one of Python's own exceptions, `ImportError` for others, where the
    interpreter ends, and where it takes more than 20 seconds.
    """
    import json
    import subprocess

    path = sys.path if directory is None else [directory, *sys.path]
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRY],
            input=json.dumps([name, [str(entry) for entry in path]]).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ImportError(
            f"{name} was not imported by a fresh Python within {_IMPORT_SECONDS} seconds"
        ) from None
    if done.returncode != 0:
        raise _failure(name, done.returncode, done.stderr.decode(errors="replace"))


def _failure(name: str, status: int, said: str) -> Exception:
    import builtins
    import json

    try:
        kind, text = json.loads(said.rpartition("\n")[2])
    except ValueError:
        return ImportError(f"a fresh Python that imported {name} ended with status {status}: {said[-2000:]}")
    text = f"{text} (when a fresh Python imported {name})"
    raised = getattr(builtins, str(kind), None)
    if isinstance(raised, type) and issubclass(raised, Exception):
        try:
            return raised(text)
        except TypeError:  # one with arguments of its own
            pass
    return ImportError(f"{kind}: {text}")


def _package(top: str, root: Path) -> list[tuple[bytes, bytes]]:
    files: list[tuple[bytes, bytes]] = []
    left = _MOST_BYTES
    for path in sorted(root.rglob("*")):
        if "__pycache__" in path.parts or not path.is_file():
            continue
        if path.suffix in (".so", ".pyd"):
            raise ValueError(f"{top} has compiled modules, such as {path.name}: install it on the nodes")
        if len(files) == _MOST_FILES:
            raise ValueError(f"{top} has more than {_MOST_FILES} files: install it on the nodes")
        content = path.read_bytes()
        left -= len(content)
        if left < 0:
            raise ValueError(
                f"the files of {top} are more than {_MOST_BYTES >> 20} MiB: install it on the nodes"
            )
        files.append((f"{top}/{path.relative_to(root).as_posix()}".encode(), content))
    return files


def use(directory: str) -> None:
    """Import from `directory` before all others, from now on."""
    if directory not in sys.path:
        sys.path.insert(0, directory)


def take(directory: str, name: str) -> bool:
    """Files of the module `name` have come to `directory`, or have gone: load it again where it is loaded, or forget it
    where there is none any more. Whether it was loaded.
    """
    import importlib
    from importlib.machinery import PathFinder

    from erl.names import bytecode

    use(directory)
    importlib.invalidate_caches()
    loaded = sorted(module for module in sys.modules if module == name or module.startswith(name + "."))
    if PathFinder.find_spec(name) is None:
        for module in loaded:
            del sys.modules[module]
        return bool(loaded)
    # A package before what it imports of its own modules would have their old ones.
    for module in reversed(loaded):
        bytecode.reload(sys.modules[module])
    return bool(loaded)
