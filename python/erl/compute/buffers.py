"""What a user-defined function computes: the declaration of each result, its array in a run, and what the user gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy

from erl.compute.shapes import axes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from erl.compute.shapes import Shape

KINDS: Final = ("nav", "sig", "single")
USES: Final = (None, "private", "result_only")


class Buffer:
    """The declaration of a result.

    `kind`         "nav": something for each frame; "sig": as a frame; "single": neither
    `extra_shape`  axes of each element; of the whole for "single"
    `dtype`        any of numpy's
    `use`          None: a result; "private": for `merge` and `get_results` only; "result_only": made by `get_results`
    """

    def __init__(
        self, kind: str, extra_shape: Any = (), dtype: Any = "float32", use: str | None = None
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"a buffer's kind is one of {', '.join(KINDS)}: not {kind!r}")
        if use not in USES:
            raise ValueError(f'a buffer\'s use is None, "private" or "result_only": not {use!r}')
        self.kind = kind
        self.extra_shape = axes_of(extra_shape, "extra_shape")
        self.dtype = numpy.dtype(dtype)
        self.use = use

    def shape_for(self, frames: int, sig: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of its array for so many frames."""
        if self.kind == "nav":
            return (frames, *self.extra_shape)
        if self.kind == "sig":
            return (*sig, *self.extra_shape)
        return self.extra_shape or (1,)

    def __repr__(self) -> str:
        return f"<Buffer {self.kind}, extra_shape {self.extra_shape}, {self.dtype}>"


class BufferResult:
    """A result: `data` has the navigation axes, `raw_data` only what was selected, flat. Is an array to numpy."""

    def __init__(self, declared: Buffer, array: Any, shape: Shape, selected: Any) -> None:
        self.kind = declared.kind
        self.extra_shape = declared.extra_shape
        self.dtype = declared.dtype
        self.raw_data = array
        self._shape = shape
        self._selected = selected

    @property
    def data(self) -> Any:
        """With the navigation axes; where the region of interest is not: NaN, or 0, False, "", None, by the type."""
        if self.kind != "nav":
            return self.raw_data
        whole = (*self._shape.nav, *self.extra_shape)
        if self._selected is None:
            return self.raw_data.reshape(whole)
        made = numpy.full((self._selected.size, *self.extra_shape), _filling(self.dtype), self.dtype)
        made[self._selected] = self.raw_data
        return made.reshape(whole)

    @property
    def valid_mask(self) -> Any:
        """Which elements of `data` were computed."""
        data = self.data
        if self.kind != "nav" or self._selected is None:
            return numpy.ones(data.shape, bool)
        mask = self._selected.reshape((*self._shape.nav, *[1 for _ in self.extra_shape]))
        return numpy.broadcast_to(mask, data.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `data`."""
        shape: tuple[int, ...] = self.data.shape
        return shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        made = numpy.asarray(self.data, dtype)
        return made.copy() if copy and made is self.raw_data else made

    def __getitem__(self, index: Any) -> Any:
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)

    def __repr__(self) -> str:
        return f"<BufferResult {self.kind}, shape {self.shape}, {self.dtype}>"


def _filling(dtype: Any) -> Any:
    if dtype.kind in "iuV":
        return 0
    if dtype.kind in "SU":
        return ""
    return False if dtype.kind == "b" else None


class Named:
    """Arrays by their names, as attributes and as items. An assignment writes into the array."""

    __slots__ = ("_arrays",)

    _arrays: dict[str, Any]

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_arrays", dict(arrays))

    def __getattr__(self, name: str) -> Any:
        try:
            return self._arrays[name]
        except KeyError:
            raise AttributeError(_unknown(name, self._arrays)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._arrays:
            raise AttributeError(_unknown(name, self._arrays))
        self._arrays[name][...] = value

    def __getitem__(self, name: str) -> Any:
        return self._arrays[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._arrays[name][...] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def keys(self) -> Any:
        """The names."""
        return self._arrays.keys()


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    return f"no result is named {name!r}; get_result_buffers has {', '.join(known) or 'none'}"


class Results(dict[str, BufferResult]):
    """The results of a user-defined function by their names, as items and as attributes."""

    def __getattr__(self, name: str) -> BufferResult:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(_unknown(name, self)) from None
