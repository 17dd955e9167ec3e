"""The signals that interrupt the main thread, and what is done where user code has taken them.

One of Linux's real-time signals is raised from outside: nobody's defaults are about those. SIGUSR1 has the same handler
as long as nobody takes it; it is user code's to take. Whether ours are still ours is seen before the main thread waits,
and by the second thread when Erlang rings for an interruption ("A call's deadline" in docs/architecture.md).
"""

from __future__ import annotations

import sys
from _io import FileIO  # user code may have replaced `open`
from _operator import is_  # `operator` costs more
from _signal import (  # type: ignore[import-not-found]  # no enum
    SIG_DFL,
    SIGUSR1,
    getsignal,
    pthread_kill,
    signal,
)
from _thread import get_ident, interrupt_main
from itertools import compress

from erl.values import steps

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NUMBERS = range(50, 58) if sys.platform == "linux" else range(0)
"""Which may be raised, the first one first: `py_launcher` knows that one.

Those from SIGRTMIN on, 34 with glibc and 35 with musl, are other runtimes' (.NET), and the last, 64, valgrind's.
"""
FIRST = next(iter(NUMBERS), SIGUSR1)
_interrupt_main: Callable[[int], None] = interrupt_main  # type: ignore[assignment]  # an int in all versions


class Signals:
    """Has `handler` called in the main thread, once that has taken signals."""

    def __init__(self, handler: Callable[[int, Any], object], moved: Callable[[int], object]) -> None:
        self._handler = handler
        self._ours = self._entered
        self._moved = moved
        self._main = 0
        self._pending: Any = None
        self._is_reset = False
        self._entries = 0
        self._missed = -1
        """How many entries there were at the last ring. As long as none follows, that one was missed."""
        self.number = SIGUSR1
        """The one that is to be raised."""

    def take(self) -> None:
        """Be called for SIGUSR1 and for one of `NUMBERS`; what a preloaded module has taken stays its own."""
        self._main = get_ident()
        if getsignal(SIGUSR1) == SIG_DFL and not _is_caught(SIGUSR1):
            signal(SIGUSR1, self._ours)
        self._take_next()

    def give_back(self) -> None:
        """Have those that are ours do what they do in any program, in a process that was forked."""
        for number in (SIGUSR1, self.number):
            if self._is_ours(number):
                signal(number, SIG_DFL)

    def strike(self) -> None:
        """From any thread: interrupt the main thread, also in a system call."""
        if number := self._which():
            self._raise(number)

    def renew(self) -> None:
        """In the main thread: take the next number where user code has taken ours."""
        if getsignal(self.number) is not self._ours and get_ident() == self._main:
            self._take_next()

    def insist(self, is_raised: bool) -> None:
        """From another thread: interrupt the main thread, whatever has become of the signals.

        Erlang may have raised the first of `NUMBERS` already. Where user code has changed all of them in this very
        call, it is interrupted between two bytecodes, not in a system call.
        """
        number = self._which()
        if not number:
            self._enter_main()
            return
        self._is_reset = is_reset = _is_caught(number) is False
        if is_reset or self._missed == self._entries:
            _interrupt_main(number)  # C code has another handler, or none
        self._missed = self._entries
        if not is_reset and (not is_raised or number != FIRST):
            self._raise(number)

    def _raise(self, number: int) -> None:
        """In one step with the look whose it is: the main thread may be about to change that."""
        ours = compress((self._main,), map(is_, map(getsignal, (number,)), (self._ours,)))
        steps.at_once(map(pthread_kill, ours, (number,)))

    def _is_ours(self, number: int) -> bool:
        return getsignal(number) is self._ours

    def _which(self) -> int:
        """A number whose handler is ours; 0: there is none."""
        return next(filter(self._is_ours, (self.number, SIGUSR1)), 0)

    def _entered(self, number: int, frame: Any) -> None:
        self._entries += 1
        if self._is_reset:  # by C code
            self._is_reset = False
            signal(number, self._ours)
        self.renew()
        self._handler(number, frame)

    def _take_next(self) -> None:
        for number in NUMBERS:
            if getsignal(number) == SIG_DFL and not _is_caught(number):
                signal(number, self._ours)
                self.number = number
                self._moved(number)
                return

    def _enter_main(self) -> None:
        """Have the main thread take a number between two bytecodes, and be interrupted by it."""
        try:
            import ctypes

            if self._pending is None:
                self._pending = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(self._taken_again)
            ctypes.pythonapi.Py_AddPendingCall(self._pending, None)
        except (ImportError, AttributeError):
            return  # a Python that has none

    def _taken_again(self, _nothing: object) -> int:
        self._take_next()
        if self._is_ours(self.number):
            _interrupt_main(self.number)
        return 0


def _is_caught(number: int) -> bool | None:
    """Whether there is a handler, C code's too; None where the system does not say."""
    try:
        with FileIO("/proc/self/status") as status:
            _, found, rest = status.readall().partition(b"SigCgt:")
    except (OSError, MemoryError):
        return None
    return bool(int(rest.split(None, 1)[0], 16) >> (number - 1) & 1) if found else None
