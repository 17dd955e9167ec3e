"""Interruptions of other threads: an exception between two bytecodes of one that runs a certain call.

`PyThreadState_SetAsyncExc` is called through `ctypes`. Where a Python has none, threads are not interrupted.
"""

from __future__ import annotations

from itertools import compress

from erl import errors
from erl.values import steps

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from typing import Any


class Interrupter:
    """Raises `CallCancelled` in threads."""

    def __init__(self) -> None:
        try:
            import ctypes

            self._raise: Any = ctypes.pythonapi.PyThreadState_SetAsyncExc
            self._raise.argtypes = [ctypes.c_ulong, ctypes.py_object]
            self._raise.restype = ctypes.c_int
            self._nothing: Any = ctypes.py_object()
        except (ImportError, AttributeError):
            self._raise = None

    def strike(self, ident: int, reach: set[int], id_: int) -> None:
        """Interrupt the thread if that call is within `reach` there, in one step."""
        if self._raise is not None:
            within = compress((ident,), map(reach.__contains__, (id_,)))
            steps.at_once(map(self._raise, within, (errors.CallCancelled,)))

    def take_back(self, ident: int) -> None:
        """Let an interruption that has not come yet not come."""
        if self._raise is not None:
            self._raise(ident, self._nothing)
