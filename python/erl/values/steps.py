"""Changes of what is shared, each in one step: see "Re-entrance" in docs/architecture.md.

Between any two bytecodes of this package other code may enter: a signal handler, a finalizer, a callback of the
collector of garbage, a trace function, another thread. A step is one call of compiled code that calls nothing else, so
nobody sees half of it, and an exception comes before it or after it. Nor may it make an object that the collector of
garbage counts (a list, a tuple, an iterator): before Python 3.12 that may run finalizers.
"""

from __future__ import annotations

from _collections import deque  # type: ignore[import-not-found]  # `collections` costs more
from _operator import setitem  # `operator` costs more
from io import SEEK_CUR, BytesIO
from itertools import chain, repeat, starmap

TYPE_CHECKING = False  # as `typing` has it; importing that costs more than the rest of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Step = Iterable[object]

at_once: Callable[[Step], None] = deque(maxlen=0).extend
"""Run an iterator to its end. Where it is made of `each` and `chain`, that is one step."""

together = chain
"""Steps that are one; what one of them raises keeps those behind it from being done."""


def each(function: Callable[..., object], *arguments: Any) -> Step:
    """A step: a function of compiled code, which must be a method of a list, a set and the like, or of `operator`."""
    return starmap(function, (arguments,))


def replaced(some: list[Any], count: int, by: list[Any]) -> Step:
    """A step: the first `count` elements of a list become these."""
    return map(setitem, (some,), (slice(count),), (by,))


class Turn:
    """A count of changes: whoever has looked at something changes it if nobody else has meanwhile."""

    __slots__ = ("_now",)

    def __init__(self) -> None:
        self._now = [0]

    @property
    def now(self) -> int:
        """The number of changes; to be read before one looks."""
        return self._now[0]

    def step(self, seen: int) -> Step:
        """A step: `ValueError` if there was another change since `seen`, else this is one."""
        return chain(map(self._now.remove, (seen,)), map(self._now.append, (seen + 1,)))

    def take(self, seen: int, *steps: Step) -> bool:
        """Do these steps, all at once, if there was no other change since `seen`."""
        now = self._now
        try:
            at_once(chain(map(now.remove, (seen,)), map(now.append, (seen + 1,)), *steps))
        except ValueError:
            if self.now == seen:
                raise  # of something else
            return False
        return True


class Sum:
    """A number that is added to in one step, whoever enters there."""

    __slots__ = ("_position",)

    def __init__(self) -> None:
        self._position = BytesIO()
        """Its position is moved relative to where it is: an addition in place in compiled code."""

    def adding(self, number: int) -> Step:
        """A step: add this number, which is not negative."""
        return map(self._position.seek, (number,), (SEEK_CUR,))

    @property
    def value(self) -> int:
        """The sum."""
        return self._position.tell()

    def clear(self) -> None:
        """Begin with 0."""
        self._position.seek(0)


def move(source: list[Any], target: list[Any]) -> None:
    """Move what a list has to another one, in one step."""
    try:
        target.extend(map(source.pop, repeat(0, len(source))))
    except IndexError:
        return  # whoever entered has taken some
