"""The context that a handler is given: what belongs to its replica, under Nuclio's names."""

from __future__ import annotations

import json
import logging
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Final

from erl.serving.encoding import Encoder
from erl.serving.responses import Response

request_id: Final[ContextVar[str]] = ContextVar("erl.serving.request_id", default="")
"""The id of the request that runs."""


class JSONFormatter(logging.Formatter):
    """A record as a line of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self._encoder = Encoder()

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return self._encoder.encode(self._said(record))

    def format_to_log_control_message(self, record: logging.LogRecord) -> str:
        """The line as the attributes of a message of the kind `log`."""
        return self._encoder.encode({"kind": "log", "attributes": self._said(record)})

    def _said(self, record: logging.LogRecord) -> dict[str, Any]:
        return {
            "datetime": self.formatTime(record, self.datefmt),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "with": getattr(record, "with", {}),
        }


class HumanReadableFormatter(logging.Formatter):
    """A record as a line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        more = getattr(record, "with", None)
        time, level = self.formatTime(record, self.datefmt), record.levelname.lower()
        return f"Python> {time} [{level}] {record.getMessage()}" + (f": {more}" if more else "")


class Logger:
    """Nuclio's logger over one of `logging`: `info`, and `info_with` for what belongs to the message."""

    def __init__(self, level: int, name: str = "erl.serving") -> None:
        self._logger = logging.getLogger(name)
        self._logger.setLevel(level)
        self._bound: dict[str, Any] = {}

    def set_handler(self, handler_name: str, file: Any, formatter: logging.Formatter) -> None:
        """Have records written to a file, too; one of that name is replaced."""
        for handler in list(self._logger.handlers):
            if handler.name == handler_name:
                self._logger.removeHandler(handler)
        handler = logging.StreamHandler(file)
        handler.name = handler_name
        handler.setFormatter(formatter)
        self._logger.addHandler(handler)

    def debug(self, message: Any, *args: Any) -> None:
        """Log it, of level debug."""
        self._log(logging.DEBUG, message, args, {})

    def info(self, message: Any, *args: Any) -> None:
        """Log it, of level info."""
        self._log(logging.INFO, message, args, {})

    def warn(self, message: Any, *args: Any) -> None:
        """Log it, of level warning."""
        self._log(logging.WARNING, message, args, {})

    warning = warn

    def error(self, message: Any, *args: Any) -> None:
        """Log it, of level error."""
        self._log(logging.ERROR, message, args, {})

    def debug_with(self, message: Any, *args: Any, **kw_args: Any) -> None:
        """Log it with values by name, of level debug."""
        self._log(logging.DEBUG, message, args, kw_args)

    def info_with(self, message: Any, *args: Any, **kw_args: Any) -> None:
        """Log it with values by name, of level info."""
        self._log(logging.INFO, message, args, kw_args)

    def warn_with(self, message: Any, *args: Any, **kw_args: Any) -> None:
        """Log it with values by name, of level warning."""
        self._log(logging.WARNING, message, args, kw_args)

    def error_with(self, message: Any, *args: Any, **kw_args: Any) -> None:
        """Log it with values by name, of level error."""
        self._log(logging.ERROR, message, args, kw_args)

    def bind(self, **kw_args: Any) -> None:
        """Values that are said with every message from now on."""
        self._bound.update(kw_args)

    def _log(self, level: int, message: Any, args: tuple[Any, ...], values: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            said = self._said(values)
            self._logger._log(level, message, args, extra={"with": said} if said else None)

    def _said(self, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, **self._bound}


class ReplicaLogger(Logger):
    """That of a replica: its lines name the request that runs, and have their values behind the message."""

    def _log(self, level: int, message: Any, args: tuple[Any, ...], values: dict[str, Any]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        text = str(message) % args if args else str(message)
        if said := self._said(values):
            text += " " + json.dumps(said, cls=Encoder)
        if id_ := request_id.get():
            text += f" (request {id_})"
        self._logger.log(level, "%s", text, stacklevel=3)


class Context:
    """`logger`, `Response`, `user_data` (yours, from `init_function` on), `worker_id`, `trigger`, `platform`."""

    def __init__(
        self,
        logger: Any = None,
        platform: Any = None,
        worker_id: int | None = None,
        trigger: Any = None,
        logger_per_async_task: bool = False,
    ) -> None:
        self.platform = platform or SimpleNamespace(kind="erl", namespace="default")
        self._own: ContextVar[Any] | None = (
            ContextVar("erl.serving.logger", default=None) if logger_per_async_task else None
        )
        self._logger = logger
        self.user_data = SimpleNamespace()
        self.Response = Response
        self.worker_id = worker_id
        self.trigger = trigger
        if trigger is not None:
            self.trigger_name = trigger.name

    @property
    def logger(self) -> Any:
        """Nuclio's logger."""
        return (self._own.get() or self._logger) if self._own is not None else self._logger

    @logger.setter
    def logger(self, logger: Any) -> None:
        if self._own is not None:
            self._own.set(logger)
        else:
            self._logger = logger
