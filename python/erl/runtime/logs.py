"""Python's `logging` to Erlang's `logger`.

`logging` is costly to import, so nothing here imports it: the handler is put on the root logger when user code has.
"""

from __future__ import annotations

import sys
from _frozen_importlib_external import PathFinder

from erl.terms import Atom, Tag
from erl.values.scope import current

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from erl.values.scope import Scope

    Send = Callable[[tuple[object, ...]], None]
    """Takes `(level, logger's name, text, file, line)`."""

_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"), (0, "debug"))


def install(send: Send, level: str) -> None:
    """Send the records of `level` and above, now or as soon as `logging` is imported."""
    if "logging" in sys.modules:
        _add_handler(sys.modules["logging"], send, level, current())
    else:
        sys.meta_path.insert(0, _WhenImported(send, level))


class _WhenImported:
    """A finder that finds `logging` where it is, and adds the handler behind its last line."""

    def __init__(self, send: Send, level: str) -> None:
        self._send = send
        self._level = level
        self._scope = current()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        others = [finder for finder in sys.meta_path if type(finder) is _WhenImported]
        find = others[0].find_spec if others else PathFinder.find_spec
        spec = find(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _add_handler(module, self._send, self._level, self._scope)

            loader.exec_module = exec_module
        return spec


def logger() -> Any:
    """`erl.logger`: its records reach Erlang whatever user code has configured, and the root's handlers."""
    import logging

    if current().log is None:
        return logging.getLogger("erl")  # outside of a worker
    level: str = current().log[1]

    class BeamLogger(logging.Logger):
        """Stands in no table of `logging`, so nobody disables it or takes its handler away."""

        def callHandlers(self, record: Any) -> None:
            own = current().log and current().log[0]
            if own is not None:
                own.handle(record)
            for other in logging.root.handlers:
                if other is not own and record.levelno >= other.level:
                    other.handle(record)

    return BeamLogger("erl", level.upper())


def _add_handler(logging: Any, send: Send, level: str, scope: Scope) -> None:
    class BeamHandler(logging.Handler):  # type: ignore[misc]
        """Sends each record to the worker process."""

        def emit(self, record: Any) -> None:
            if current() is not scope:
                return  # it is another conversation's
            try:
                name = next(name for least, name in _LEVELS if record.levelno >= least)
                text = self.format(record)
                if scope.heard is not None:
                    scope.heard(name, record.name, text)
                send(
                    (
                        Atom(name),
                        Tag(record.name),
                        Tag(text),
                        Tag(record.pathname),
                        record.lineno,
                    )
                )
            except Exception:
                self.handleError(record)

    scope.log = BeamHandler(), level
    logging.root.addHandler(scope.log[0])
    logging.root.setLevel(level.upper())
