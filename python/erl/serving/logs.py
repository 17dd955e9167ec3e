"""The log of a service that is a run: what its replicas print and log, in the run's file, `log` beside `log.1`.

All replicas write to one file, each text with one write. It has a bound: the file is put aside when it is full, in the
place of the one that was put aside before, so the newest 8 to 16 MiB are there.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Any, Final

from erl.values.scope import current

_MOST_BYTES: Final = 8 << 20
_HIDDEN: Final = "***"
_LEAST_HIDDEN: Final = 3


class Log:
    """The file, and what is written as stars in it."""

    def __init__(self, directory: str, secrets: list[str]) -> None:
        self._directory = directory
        self._path = f"{directory}/log"
        self._file: Any = None
        self._lock = threading.Lock()
        self._hidden = sorted((each for each in secrets if len(each) >= _LEAST_HIDDEN), key=len, reverse=True)

    def write(self, text: str) -> None:
        """Add a text. What can't be written is lost, and the service goes on."""
        for secret in self._hidden:
            text = text.replace(secret, _HIDDEN)
        data = text.encode("utf-8", "backslashreplace")
        with self._lock, suppress(OSError):
            self._opened().write(data)

    def trace(self, error: BaseException) -> None:
        """Add an exception with its traceback."""
        import traceback

        with suppress(Exception):  # user code, in the exception's own methods
            self.write("".join(traceback.format_exception(error)))

    def _opened(self) -> Any:
        if self._file is not None:
            here = os.fstat(self._file.fileno())
            if here.st_size <= _MOST_BYTES and self._is_there(here):
                return self._file
            self._file.close()
            self._file = None
            if here.st_size > _MOST_BYTES and self._is_there(here):
                os.replace(self._path, f"{self._path}.1")
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        # Unbuffered, so that each text is one write.
        self._file = open(self._path, "ab", buffering=0, opener=_private)  # noqa: SIM115  # it stays open
        return self._file

    def _is_there(self, here: os.stat_result) -> bool:
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Shown:
    """Stands before a standard stream: what is written goes to the log."""

    def __init__(self, stream: Any, log: Log) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: Any) -> int:
        if not isinstance(text, str):
            written: int = self._stream.write(text)
            return written
        self._log.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Leave it open."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install(directory: str, secrets: list[str]) -> Log:
    """Have what this interpreter prints and logs written there; `secrets` are names of environment variables."""
    log = Log(directory, [line for name in secrets for line in os.environ.get(name, "").splitlines()])
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:
            setattr(sys, name, _Shown(stream, log))
    current().heard = lambda level, name, text: log.write(f"{level.upper()} {name}: {text}\n")
    return log
