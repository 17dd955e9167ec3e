"""What handlers have injected that were written for nuclio: a context and an event.

def handler(context, event):
    context.logger.info("begins")
    context.user_data.model = ...      # of `init`, for the handler
"""

from __future__ import annotations

import logging
from types import SimpleNamespace

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any


class Logger:
    """nuclio's logger, over Python's: texts as they are, and `info_with(text, key=value)`."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        if not self._logger.isEnabledFor(logging.INFO):
            self._logger.setLevel(logging.INFO)

    def debug(self, message: Any, *args: Any) -> None:
        """Log it."""
        self._log(logging.DEBUG, message, args)

    def info(self, message: Any, *args: Any) -> None:
        """Log it."""
        self._log(logging.INFO, message, args)

    def warn(self, message: Any, *args: Any) -> None:
        """Log it as a warning."""
        self._log(logging.WARNING, message, args)

    warning = warn

    def error(self, message: Any, *args: Any) -> None:
        """Log it."""
        self._log(logging.ERROR, message, args)

    def exception(self, message: Any, *args: Any) -> None:
        """Log it as an error, with the exception that is being handled."""
        self._logger.exception(message, *args)

    def debug_with(self, message: Any, **more: Any) -> None:
        """Log it, and what goes with it."""
        self._log(logging.DEBUG, _with(message, more), ())

    def info_with(self, message: Any, **more: Any) -> None:
        """Log it, and what goes with it."""
        self._log(logging.INFO, _with(message, more), ())

    def warn_with(self, message: Any, **more: Any) -> None:
        """Log it as a warning, and what goes with it."""
        self._log(logging.WARNING, _with(message, more), ())

    def error_with(self, message: Any, **more: Any) -> None:
        """Log it, and what goes with it."""
        self._log(logging.ERROR, _with(message, more), ())

    def _log(self, level: int, message: Any, args: tuple[Any, ...]) -> None:
        if args and isinstance(message, str) and "%" not in message:
            self._logger.log(level, "%s", " ".join(map(str, (message, *args))))
        else:
            self._logger.log(level, message, *args)


def _with(message: Any, more: dict[str, Any]) -> str:
    return " ".join([str(message), *(f"{name}={value!r}" for name, value in more.items())])


class Context:
    """nuclio's context: a logger, and `user_data`, which `init` fills for the handler."""

    def __init__(self, project: Any = None, run: Any = None, name: str = "erl.functions") -> None:
        self.logger = Logger(name)
        self.user_data = SimpleNamespace()
        self.project = project
        self.run = run
        self.trigger = SimpleNamespace(kind="job", name="job")
        self.worker_id = 0


class Event:
    """nuclio's event. Of a job, `body` has the run's parameters."""

    def __init__(self, body: Any = None, **more: Any) -> None:
        self.body = body
        self.headers: dict[str, str] = {}
        self.fields: dict[str, Any] = {}
        self.method = "POST"
        self.path = "/"
        self.content_type = "application/json"
        self.id: str | None = None
        self.timestamp: float | None = None
        self.trigger = SimpleNamespace(kind="job", name="job")
        for name, value in more.items():
            setattr(self, name, value)
