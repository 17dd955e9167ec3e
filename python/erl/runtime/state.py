"""Which calls of Python are under way, as the main thread knows it, and whoever enters there."""

from __future__ import annotations

import sys
from _contextvars import ContextVar

from erl.names import importing

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_MOST_NESTED = 64
"""So many calls that wait for Erlang may others nest in; what comes then waits for one of them to go on."""
_FRAMES_OF_A_LIMIT = 3
"""Nothing nests where more than the limit of recursion divided by this is in use: who nests has need of it, too."""

whose: ContextVar[int] = ContextVar("erl.call", default=0)
"""The id of the call that this code runs for, where it is not one of the main thread: in threads and coroutines."""


class State:
    """The calls under way."""

    __slots__ = ("aside", "asking", "cancelled", "entered", "lane", "open", "outer")

    def __init__(self) -> None:
        self.open: list[int] = []
        """Ids of the calls that were begun and not answered, the innermost last; of the lane's those it leaves."""
        self.outer: list[int] = []
        """Ids of the calls that wait for Erlang, the innermost one last."""
        self.entered = 0
        """The id of the call whose user code the server has entered, 0 where it is none, or the lane's."""
        self.asking = False
        """Whether that call waits for Erlang just now: then it is the server that uses the port."""
        self.aside = 0
        """The id of the call that is made ready or answered: what it imports then is not user code's."""
        self.cancelled: set[int] = set()
        """Ids of calls that are not wanted, and marks; the lane stands aside for one. Always the same set."""
        self.lane: Any = None
        """The compiled code that serves the common calls; None where it does not."""

    @property
    def running(self) -> int:
        """The id of the call whose user code runs, 0 where none does or it waits for Erlang; for a signal handler."""
        return 0 if self.asking else self.current

    @property
    def current(self) -> int:
        """The same, also while the call waits."""
        if self.entered or self.lane is None:
            return self.entered
        running: int = self.lane.running  # no call of the lane's nests in another
        return running

    @property
    def innermost(self) -> int:
        """The id of the call that whoever enters just now would be taken for: it may be made ready, or answered."""
        return self.open[-1] if self.entered and self.open else self.current

    @property
    def asker(self) -> int:
        """The same, also while a call is made ready or answered, by the lane too; 0 where there is none."""
        if self.open:
            return self.innermost or self.open[-1]
        serving: int = 0 if self.lane is None else self.lane.serving
        return self.innermost or serving

    def may_nest(self) -> bool:
        """Whether the call that waits here may have others nest in it."""
        if len(self.outer) >= _MOST_NESTED:
            return False
        frame: FrameType | None = sys._getframe()
        left = sys.getrecursionlimit() // _FRAMES_OF_A_LIMIT
        while frame is not None and left:
            frame, left = frame.f_back, left - 1
        # In the middle of an import the same thread finds modules that are not whole.
        return left > 0 and not importing.is_under_way(sys._getframe(), ())
