"""Data sets: what is analysed, and how it is cut. The data stay where they are until workers read them."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy

from erl.compute import sources
from erl.compute.shapes import Shape, axes_of, partitions_of, shape_of, warn
from erl.errors import DataSetError

if TYPE_CHECKING:
    from erl.executors import Executor, Handle

_given_up: deque[dict[Any, Handle]] = deque()
"""What was scattered of data sets that are gone."""


class DataSet:
    """Frames in memory or in a file: `shape` (with `.nav` and `.sig`), `dtype`, and where they are cut."""

    def __init__(self, source: Any, dtype: Any, data: Any = None, num_partitions: int | None = None) -> None:
        self.source = source
        self.dtype = numpy.dtype(dtype)
        if self.dtype.kind not in "biufc":
            raise DataSetError(
                f"the elements are of the type {self.dtype}: frames are of numbers (bool, integers, floats, complex)"
            )
        self.shape: Shape = source.shape
        if num_partitions is not None and num_partitions < 1:
            raise ValueError(f"num_partitions is at least 1, not {num_partitions}")
        frame_bytes = self.shape.sig.size * self.dtype.itemsize
        self.partitions = partitions_of(self.shape.nav.size, frame_bytes, num_partitions)
        self._data = data
        self._handles: weakref.WeakKeyDictionary[Executor, Handle] = weakref.WeakKeyDictionary()
        self._scattering = threading.Lock()
        if data is not None:
            weakref.finalize(self, _given_up.append, self._handles).atexit = False  # type: ignore[arg-type]

    @property
    def roi(self) -> _Selecting:
        """`dataset.roi[3:5, 7]` is the region of interest with these frames."""
        return _Selecting(tuple(self.shape.nav))

    def scattered(self, executor: Executor) -> Handle | None:
        """What stands for its array in tasks of this executor, scattered once; None where workers read a file."""
        if self._data is None:
            return None
        with self._scattering:
            handle = self._handles.get(executor)
            if handle is None:
                handle = self._handles[executor] = executor.scatter(self._data)
            return handle

    def __repr__(self) -> str:
        kind = type(self.source).__name__.lower()
        return f"<DataSet {kind}, nav {tuple(self.shape.nav)}, sig {tuple(self.shape.sig)}, {self.dtype}>"


class _Selecting:
    def __init__(self, nav: tuple[int, ...]) -> None:
        self._nav = nav

    def __getitem__(self, index: Any) -> Any:
        made: Any = numpy.zeros(self._nav, bool)
        made[index] = True
        return made


def release_given_up() -> None:
    """Have executors release what was scattered of data sets that nobody has any more."""
    while _given_up:
        try:
            handles = _given_up.popleft()
        except IndexError:
            return
        for executor, handle in list(handles.items()):
            executor.release(handle)


# One function for each kind, and its arguments


def memory(
    executor: Executor,
    data: Any,
    sig_dims: int = 2,
    nav_shape: Any = None,
    sig_shape: Any = None,
    num_partitions: int | None = None,
) -> DataSet:
    masked: Any = getattr(numpy.ma, "MaskedArray", ())
    if isinstance(data, masked):
        raise TypeError("a masked array would lose its mask here: fill it first, data.filled(value)")
    array = numpy.asarray(data)
    shape = _with_axes(array.shape, sig_dims, nav_shape, sig_shape)
    if shape.size != array.size:
        raise DataSetError(
            f"the data has the shape {array.shape}, which is not nav_shape and sig_shape: {shape}"
        )
    return DataSet(sources.Memory(shape), array.dtype, array, num_partitions)


def raw(
    executor: Executor,
    path: Any,
    dtype: Any,
    nav_shape: Any,
    sig_shape: Any,
    num_partitions: int | None = None,
) -> DataSet:
    nav, sig = axes_of(nav_shape, "nav_shape"), axes_of(sig_shape, "sig_shape")
    shape = shape_of((*nav, *sig), len(sig))
    kind = numpy.dtype(dtype)
    where = _absolute(path)
    made = DataSet(sources.Raw(where, kind, shape), kind, None, num_partitions)
    more = executor.run(sources.raw_size, where, kind, shape)
    if more:
        warn(f"{where} has {more} bytes more than {tuple(shape)} of {kind}: they are left out")
    return made


def npy(
    executor: Executor,
    path: Any,
    sig_dims: int = 2,
    nav_shape: Any = None,
    sig_shape: Any = None,
    num_partitions: int | None = None,
) -> DataSet:
    where = _absolute(path)
    axes, dtype = executor.run(sources.npy_form, where)
    shape = _with_axes(axes, sig_dims, nav_shape, sig_shape)
    if shape.size > Shape(axes, 0).size:
        raise DataSetError(f"{where} has the shape {axes}, which has not room for {tuple(shape)}")
    return DataSet(sources.Npy(where, dtype, shape), dtype, None, num_partitions)


def hdf5(
    executor: Executor,
    path: Any,
    ds_path: str | None = None,
    sig_dims: int = 2,
    num_partitions: int | None = None,
) -> DataSet:
    where = _absolute(path)
    found, axes, dtype = executor.run(sources.hdf5_form, where, ds_path)
    shape = shape_of(axes, sig_dims)
    return DataSet(sources.Hdf5(where, found, dtype, shape), dtype, None, num_partitions)


def auto(executor: Executor, path: Any = None, data: Any = None, **kwargs: Any) -> DataSet:
    if data is not None or hasattr(path, "__array__"):
        return memory(executor, data=path if data is None else data, **kwargs)
    where = _absolute(path)
    kind = executor.run(sources.kind_of, where)
    if kind is None:
        raise DataSetError(
            f'{where} is neither a file of numpy\'s nor of HDF5: load("raw", path=, dtype=, nav_shape=, sig_shape=) '
            "where it is numbers alone"
        )
    found: DataSet = KINDS[kind](executor, path=where, **kwargs)
    return found


KINDS: dict[str, Any] = {"memory": memory, "npy": npy, "raw": raw, "hdf5": hdf5, "auto": auto}


def _absolute(path: Any) -> str:
    return os.path.abspath(os.fsdecode(os.fspath(path)))


def _with_axes(axes: tuple[int, ...], sig_dims: int, nav_shape: Any, sig_shape: Any) -> Shape:
    """The shape, with other axes where they are given."""
    if nav_shape is None and sig_shape is None:
        return shape_of(axes, sig_dims)
    given = None if sig_shape is None else axes_of(sig_shape, "sig_shape")
    sig = shape_of(axes, sig_dims).sig if given is None else given
    nav = shape_of(axes, sig_dims).nav if nav_shape is None else axes_of(nav_shape, "nav_shape")
    return shape_of((*nav, *sig), len(sig))
