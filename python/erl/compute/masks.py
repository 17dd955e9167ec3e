"""Masks: arrays of the shape of a frame, which weigh its elements; and sums of frames under them.

Sums are made without BLAS, whose threads and block sizes would make the last bits depend on where it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BLOCK: Final = 512
"""So many products are added in the type of the data, the sums of blocks in a wider one."""

_EXACT: Final = 2**53


def circular(cy: float, cx: float, shape: tuple[int, int], radius: float) -> Any:
    """A filled circle of True."""
    y, x = numpy.ogrid[: shape[0], : shape[1]]
    return (y - cy) ** 2 + (x - cx) ** 2 <= radius * radius


def ring(cy: float, cx: float, shape: tuple[int, int], radius: float, radius_inner: float) -> Any:
    """What is in the circle of `radius`, and not in that of `radius_inner`."""
    return circular(cy, cx, shape, radius) & ~circular(cy, cx, shape, radius_inner)


class Stack:
    """Masks for data of one type, and what their sums are computed in.

    `sparse`  whether only elements other than zero are looked at
    """

    def __init__(self, masks: list[Any], dtype: Any, wanted: Any = None, sparse: bool = False) -> None:
        stack = numpy.stack([each.reshape(-1) for each in masks])
        self.dtype, self._work, self.sum_dtype = _types(dtype, stack, wanted)
        if sparse:
            self._picked: Any = [(each.nonzero()[0], each[each != 0].astype(self._work)) for each in stack]
            self._stack: Any = None
        else:
            self._picked = None
            self._stack = stack.astype(self._work)

    def sums(self, frames: Any) -> Any:
        """One row for each frame, one column for each mask, in a type that is wide enough."""
        flat = frames.reshape(len(frames), -1)
        count = len(self._stack if self._picked is None else self._picked)
        found = numpy.empty((len(flat), count), self.sum_dtype)
        depth = max(1, (1 << 19) // max(1, flat.shape[1] * self._work.itemsize))
        for first in range(0, len(flat), depth):
            tile = flat[first : first + depth]
            if self._picked is None:
                found[first : first + depth] = self._products(
                    tile.astype(self._work, copy=False), self._stack
                )
            else:
                for column, (where, values) in enumerate(self._picked):
                    picked = numpy.ascontiguousarray(tile[:, where].astype(self._work, copy=False))
                    found[first : first + depth, column] = self._products(picked, values[None])[:, 0]
        return found

    def _products(self, tile: Any, stack: Any) -> Any:
        if self._work == self.sum_dtype:
            return numpy.einsum("np,kp->nk", tile, stack)
        whole = tile.shape[1] // _BLOCK * _BLOCK
        made = numpy.einsum("np,kp->nk", tile[:, whole:], stack[:, whole:]).astype(self.sum_dtype)
        if whole:
            blocks = (len(tile), whole // _BLOCK, _BLOCK)
            many = (len(stack), whole // _BLOCK, _BLOCK)
            parts = numpy.einsum(
                "nbp,kbp->nkb", tile[:, :whole].reshape(blocks), stack[:, :whole].reshape(many)
            )
            made += parts.sum(axis=2, dtype=self.sum_dtype)
        return made


def _types(dtype: Any, stack: Any, wanted: Any) -> tuple[Any, Any, Any]:
    """What the result is of, what products are computed in, and what their sums are."""
    made = numpy.result_type(dtype, stack.dtype)
    if wanted is not None:
        made = numpy.result_type(made, wanted)
    if made.kind in "biu":
        final = numpy.dtype(wanted or ("int64" if made.kind in "bi" else "uint64")).newbyteorder("=")
        largest = _largest(dtype) * _largest(stack.dtype) * max(1, stack.shape[1])
        work = numpy.dtype("float64") if largest < _EXACT else final
        return final, work, work
    made = numpy.result_type(made, numpy.float32).newbyteorder("=")
    final = made if wanted is None else numpy.dtype(wanted)
    wide = {"f": "float64", "F": "complex128"}.get(made.char)
    return final, made, made if wide is None else numpy.dtype(wide)


def _largest(dtype: Any) -> int:
    if dtype.kind == "b":
        return 1
    limits = numpy.iinfo(dtype)
    return max(int(limits.max), -int(limits.min))


def made_by(
    factories: Callable[[], Any] | Iterable[Callable[[], Any]],
    shape: tuple[int, ...],
    use_sparse: bool | None,
    mask_dtype: Any,
) -> tuple[list[Any], bool]:
    """The masks that factories make, dense, and whether they are sparse. Raises `ValueError`, `TypeError`.

    One factory alone may make several, along a first axis more.
    """
    one = callable(factories)
    made: list[Any] = []
    are_sparse = []
    for number, factory in enumerate([factories] if one else factories):  # type: ignore[arg-type]
        if not callable(factory):
            raise TypeError(
                f"factory {number} is a {type(factory).__name__}, not a function that makes a mask"
            )
        mask = factory()
        dense = _dense(mask)
        are_sparse.append(dense is not None)
        array = numpy.asarray(mask if dense is None else dense)
        if array.dtype.kind not in "biufc":
            raise TypeError(f"mask {number} is of {array.dtype}: masks are of numbers")
        several = one and array.ndim == len(shape) + 1
        if (array.shape[1:] if several else array.shape) != shape:
            raise ValueError(f"mask {number} has the shape {array.shape}, the frames have {shape}")
        made += list(array) if several else [array]
    if not made:
        raise ValueError("there are no masks: factories is empty")
    if mask_dtype is not None:
        made = [each.astype(mask_dtype) for each in made]
    return made, all(are_sparse) if use_sparse is None else bool(use_sparse)


def _dense(mask: Any) -> Any:
    for name in ("todense", "toarray"):
        if callable(getattr(mask, name, None)):
            return getattr(mask, name)()
    return None
