"""Shapes of data sets, how their frames are cut into partitions, and which of them a region of interest selects."""

from __future__ import annotations

import math
import operator
import sys
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_BYTES: Final = 32 << 20
"""Of a partition, unless one frame has more."""

LEAST_PARTITIONS: Final = 16
"""As long as there are so many frames: what is slow for each frame wants workers, however few bytes there are."""


class Shape(tuple[int, ...]):
    """The shape of a data set: navigation axes, then the signal axes, which a frame has."""

    sig_dims: int

    def __new__(cls, shape: Iterable[int], sig_dims: int) -> Shape:
        made = super().__new__(cls, tuple(int(each) for each in shape))
        made.sig_dims = sig_dims
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self), self.sig_dims

    @property
    def nav(self) -> Shape:
        """The navigation axes alone."""
        return Shape(self[: len(self) - self.sig_dims], 0)

    @property
    def sig(self) -> Shape:
        """The signal axes alone."""
        return Shape(self[len(self) - self.sig_dims :], self.sig_dims)

    @property
    def dims(self) -> int:
        """How many axes there are."""
        return len(self)

    @property
    def size(self) -> int:
        """How many elements; 1 where there is no axis."""
        return math.prod(self)


def shape_of(shape: Iterable[int], sig_dims: Any) -> Shape:
    """The shape of data whose last `sig_dims` axes are the signal's. Raises `ValueError`, `TypeError`."""
    axes = tuple(shape)
    if isinstance(sig_dims, bool) or not hasattr(sig_dims, "__index__"):
        raise TypeError(f"sig_dims is how many axes a frame has, not {sig_dims!r}")
    count = int(sig_dims)
    if not 1 <= count <= len(axes):
        raise ValueError(
            f"sig_dims is {count}: the data has {len(axes)} axes, and a frame has 1 of them at least"
            + (f"; its shape is {axes}" if axes else "")
        )
    return Shape(axes, count)


def axes_of(shape: Any, name: str) -> tuple[int, ...]:
    """A shape that somebody gave as an argument. Raises `TypeError`, `ValueError`."""
    given = (shape,) if hasattr(shape, "__index__") else shape
    try:
        axes = tuple(each.__index__() for each in given)
    except (TypeError, AttributeError):
        raise TypeError(f"{name} is a tuple of integers, not {shape!r}") from None
    if any(each < 0 for each in axes):
        raise ValueError(f"{name} has a negative axis: {axes}")
    return axes


def partitions_of(frames: int, frame_bytes: int, count: int | None = None) -> list[tuple[int, int]]:
    """Where partitions begin and end: by the data alone, so that each executor computes the same."""
    if frames == 0:
        return []
    if count is None:
        depth = max(1, MOST_BYTES // max(1, frame_bytes))
        count = max(-(-frames // depth), min(frames, LEAST_PARTITIONS))
    count = min(count, frames)
    bounds = [frames * each // count for each in range(count + 1)]
    return list(pairwise(bounds))


def ranges(nav: tuple[int, ...], start: int, stop: int) -> Iterator[tuple[slice, ...]]:
    """Boxes of the navigation axes that are, one behind the other, the frames from `start` to `stop`."""
    if start >= stop:
        return
    if not nav:
        yield ()
        return
    inner = math.prod(nav[1:])
    if len(nav) == 1:
        yield (slice(start, stop),)
        return
    first, last = start // inner, stop // inner
    if first == last:
        for each in ranges(nav[1:], start - first * inner, stop - first * inner):
            yield (slice(first, first + 1), *each)
        return
    if start % inner:
        for each in ranges(nav[1:], start % inner, inner):
            yield (slice(first, first + 1), *each)
        first += 1
    if first < last:
        yield (slice(first, last), *[slice(0, size) for size in nav[1:]])
    for each in ranges(nav[1:], 0, stop - last * inner):
        yield (slice(last, last + 1), *each)


def selection(roi: Any, nav: Shape) -> Any:
    """Whether each frame is selected, as a flat array of bool, or None for all.

    `roi` is an array of bool with the shape of the navigation axes, or the coordinates of one frame.
    Raises `ValueError`, `TypeError`, `IndexError`.
    """
    if roi is None:
        return None
    import numpy

    if type(roi) is tuple and all(hasattr(each, "__index__") and type(each) is not bool for each in roi):
        found: Any = numpy.zeros(tuple(nav), bool)
        found[coordinates(roi, nav)] = True
        return found.reshape(-1)
    for name in ("todense", "toarray"):  # sparse ones
        if callable(getattr(roi, name, None)):
            roi = getattr(roi, name)()
            break
    array = numpy.asarray(roi)
    if array.shape != tuple(nav):
        raise ValueError(f"roi has the shape {array.shape}, the navigation axes have {tuple(nav)}")
    if array.dtype != bool:
        if array.dtype.kind not in "iuf" or not numpy.isin(array, (0, 1)).all():
            raise TypeError(f"roi is an array of bool, not of {array.dtype}")
        warn(f"roi is an array of {array.dtype}, not of bool: 1 selects, 0 does not")
    return array.astype(bool).reshape(-1)


def coordinates(given: tuple[Any, ...], nav: tuple[int, ...]) -> tuple[int, ...]:
    """The coordinates of one frame. Raises `IndexError`, `ValueError`."""
    if len(given) != len(nav):
        raise ValueError(f"{len(given)} coordinates for a frame: the data has {len(nav)} navigation axes")
    try:
        found = tuple(operator.index(each) for each in given)
    except TypeError:
        raise TypeError(f"coordinates of a frame are integers, not {given}") from None
    if any(not 0 <= each < size for each, size in zip(found, nav, strict=True)):
        raise IndexError(f"no frame is at {found}: the navigation axes are {tuple(nav)}")
    return found


def warn(text: str) -> None:
    """Warn of what the caller of this package has written, in his line."""
    depth, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("erl.compute"):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(text, stacklevel=depth)
