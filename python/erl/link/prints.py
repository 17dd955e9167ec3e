"""What tasks print, log and warn of, in the driver: its `sys.stdout` of the moment, its `logging`, its `warnings`.

Nothing here raises, whatever a stream or a handler of the program's does: it runs in the thread that reads.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LEVELS = {
    "emergency": 50,
    "alert": 50,
    "critical": 50,
    "error": 40,
    "warning": 30,
    "notice": 25,
    "info": 20,
    "debug": 10,
}

_shown: dict[Any, Any] = {}
"""Which warnings were shown, as a module's `__warningregistry__`."""


def text_of(value: object) -> str:
    """Text of the link's: bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else f"{value!s}"


listeners: list[Callable[[str], bool]] = []
"""Asked of each line that begins with a zero character: whether it was for them, and is no text."""


def show(text: object) -> None:
    """Print what a task has printed."""
    try:
        shown = text_of(text)
        if "\0" in shown and listeners:
            shown = "".join(line for line in shown.splitlines(True) if not _is_heard(line))
        sys.stdout.write(shown)
        sys.stdout.flush()
    except Exception:
        return


def _is_heard(line: str) -> bool:
    # All of them are asked: a node can have several executors.
    return line.startswith("\0") and sum(listen(line.rstrip("\n")) for listen in list(listeners)) > 0


def log(level: object, text: object, meta: object) -> None:
    """Give a record to the logger that has its name."""
    import logging

    try:
        known: dict[str, Any] = (
            {str(key): value for key, value in meta.items()} if isinstance(meta, dict) else {}
        )
        name = text_of(known.get("logger") or "erl.node")
        logger = logging.getLogger(name)
        number = _LEVELS.get(str(level), 20)
        if dropped := known.get("dropped"):
            logger.warning("%s records were not sent, as nobody took them", dropped)
        if not logger.isEnabledFor(number):
            return
        line = known.get("line")
        record = logger.makeRecord(
            name,
            number,
            text_of(known.get("file") or ""),
            line if type(line) is int else 0,
            text_of(text),
            (),
            None,
        )
        if type(known.get("time")) is int:
            record.created = known["time"] / 1_000_000
            record.msecs = known["time"] % 1_000_000 / 1000
        logger.handle(record)
    except Exception:
        return


def warn(category: str, name: str, text: str, filename: str, lineno: int) -> None:
    """Issue a warning as if it had been issued here. Raises it where the program's filters make it an error."""
    import warnings

    found: Any = getattr(sys.modules.get(category), name, None)
    if not (isinstance(found, type) and issubclass(found, Warning)):
        found = UserWarning
        text = f"{category}.{name}: {text}"
    if not os.path.isfile(filename):  # its line would be read for the warning's text
        filename = f"<{filename.strip('<>')}>"
    warnings.warn_explicit(text, found, filename, lineno, registry=_shown)
