"""Sources as modules: each is a package of its own, named by its hash, so that modules of equal names never meet.

A source's modules are `erl_source_<hash>.main` and so on. What they import by name (`import other`) is looked for in
their own source first, as beside a script. Nothing is written there: what is compiled stays in memory.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
from importlib.machinery import ModuleSpec, SourceFileLoader

from erl import errors

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType
    from typing import Any, Final

PREFIX: Final = "erl_source_"
_HASH_CHARACTERS: Final = 40

_lock = threading.Lock()
given: dict[str, object] = {}
"""Names that sources have without importing them: classes of entities, which annotations name."""
_directories: dict[str, str] = {}
"""Where the sources lie, by the names of their packages."""


def load(directory: str, hash: str, handler: str) -> Callable[..., Any]:  # noqa: A002  # the interface's name
    """The callable that `handler` (`f`, `module:f`, `pkg.module:f`) names in the source of that hash in a directory.

    Raises `errors.EntityError` where there is none, and what its modules raise as they are imported.
    """
    package = _package(directory, hash)
    module_name, function = split(handler)
    if module_name is None:
        module_name = default_module(directory)
    name = f"{package}.{module_name}"
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise errors.EntityError(f"the source has no module {module_name} ({handler})") from None
    found: Any = sys.modules[name]
    for attribute in function.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise errors.EntityError(
                f"the module {module_name} has no {function}{_meant(found, attribute)}"
            ) from None
    if not callable(found):
        raise errors.EntityError(f"{handler} is {type(found).__name__}, which is nothing that can be called")
    return found  # type: ignore[no-any-return]


def _meant(found: object, name: str) -> str:
    from erl.values.suggestion import nearest

    near = nearest(name, [each for each in vars(found) if not each.startswith("_")])
    return f": is {near} meant?" if near else ""


def split(handler: str) -> tuple[str | None, str]:
    """The module, if one is named, and the function in it."""
    module, colon, function = handler.rpartition(":")
    return (module if colon else None), function


def default_module(directory: str) -> str:
    """The module of a handler that names none: `main`, or the only one. Raises `errors.EntityError`."""
    modules = sorted(name[:-3] for name in os.listdir(directory) if name.endswith(".py"))
    if "main" in modules:
        return "main"
    if len(modules) == 1:
        return modules[0]
    there = f"it has {', '.join(modules[:10])}" if modules else "it has none beside its folders"
    raise errors.EntityError(f"the handler names no module of the source, module:function; {there}")


def has_module(directory: str, module: str) -> bool:
    """Whether a source has a module of that dotted name."""
    path = os.path.join(directory, *module.split("."))
    return os.path.isfile(f"{path}.py") or os.path.isfile(f"{path}/__init__.py")


def is_of_source(name: str) -> bool:
    """Whether that is the name of a source's module."""
    return name.startswith(PREFIX)


# The import system


def _package(directory: str, hash_: str) -> str:
    if not (hash_.isascii() and hash_.isalnum()):
        raise errors.EntityError(f"{hash_!r:.80} is no hash of a source")
    name = PREFIX + hash_[:_HASH_CHARACTERS]
    with _lock:
        known = _directories.get(name)
        # One that was deleted may be there as another version's.
        if known is None or (known != directory and not os.path.isdir(known)):
            if not os.path.isdir(directory):
                raise errors.EntityError(f"the source is not there any more: {directory}")
            _directories[name] = directory
            if name in sys.modules:
                sys.modules[name].__path__ = [directory]
        _install()
    return name


def _install() -> None:
    if Sources not in sys.meta_path:
        sys.meta_path.insert(0, Sources)
    if getattr(builtins.__import__, "__module__", None) != __name__:
        builtins.__import__ = _importing(builtins.__import__)


class Sources:
    """Finds the packages of sources, and the modules in them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> Any:
        """What the import system asks."""
        if not name.startswith(PREFIX):
            return None
        top, _, below = name.partition(".")
        directory = _directories.get(top)
        if directory is None:
            return None
        if not below:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [directory]
            return spec
        last = name.rpartition(".")[2]
        for place in path or [directory]:
            home = os.path.join(place, last)
            for file, is_package in ((f"{home}/__init__.py", True), (f"{home}.py", False)):
                if os.path.isfile(file):
                    spec = ModuleSpec(name, _Loader(name, file), origin=file, is_package=is_package)
                    spec.has_location = True
                    if is_package:
                        spec.submodule_search_locations = [home]
                    return spec
            if os.path.isdir(home):
                spec = ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [home]
                return spec
        return None


class _Loader(SourceFileLoader):
    """Reads a source and leaves nothing beside it."""

    def exec_module(self, module: ModuleType) -> None:
        """Run it, with the names that sources have without importing them."""
        for name, value in given.items():
            module.__dict__.setdefault(name, value)
        super().exec_module(module)

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _importing(before: Callable[..., Any]) -> Callable[..., Any]:
    def import_(
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002  # as the interpreter names them
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0 and globals is not None:
            own = globals.get("__name__")
            if type(own) is str and own.startswith(PREFIX):
                package = own.partition(".")[0]
                top = name.partition(".")[0]
                if _is_in(package, top):
                    full = f"{package}.{name}"
                    module: ModuleType = before(full, globals, locals, fromlist, 0)
                    return module if fromlist else sys.modules[f"{package}.{top}"]
        found: ModuleType = before(name, globals, locals, fromlist, level)
        return found

    import_.__module__ = __name__
    return import_


def _is_in(package: str, top: str) -> bool:
    """Whether a source has a module, a package, or a folder with modules, of that name."""
    directory = _directories.get(package)
    if directory is None:
        return False
    if f"{package}.{top}" in sys.modules:
        return True
    if has_module(directory, top):
        return True
    try:
        return any(name.endswith(".py") for name in os.listdir(os.path.join(directory, top)))
    except OSError:
        return False
