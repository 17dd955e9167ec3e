"""Where frames come from: what a worker opens and reads by itself. A source is small, and goes with each run."""

from __future__ import annotations

import contextlib
import math
import os
import stat
from typing import TYPE_CHECKING, Any

import numpy

from erl.compute.shapes import ranges
from erl.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from erl.compute.shapes import Shape


class Memory:
    """An array of the program's, which executors scatter once."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape

    @contextlib.contextmanager
    def opened(self, data: Any) -> Iterator[Any]:
        """The array, as each kind of source has it; here it is what was scattered."""
        yield data.reshape(tuple(self.shape)) if data.shape != tuple(self.shape) else data


class Frames:
    """A file that is read, not mapped: where a mapped one is cut, its process ends, and here that is the program."""

    def __init__(self, path: str, offset: int, dtype: Any, shape: Shape) -> None:
        self._path = path
        self._offset = offset
        self._sig = tuple(shape.sig)
        self.dtype = dtype

    def read(self, start: int, stop: int) -> Any:
        """The frames from `start` to `stop`. Raises `DataSetError` where the file has not all of them any more."""
        size = math.prod(self._sig)
        count = (stop - start) * size
        offset = self._offset + start * size * self.dtype.itemsize
        found = numpy.fromfile(self._path, self.dtype, count, offset=offset)
        if len(found) < count:
            raise DataSetError(
                f"{self._path} was cut short while it was read: it has {size_of(self._path)} bytes, "
                f"and frame {stop - 1} ends at {offset + count * self.dtype.itemsize}"
            )
        return found.reshape((stop - start, *self._sig))


class _File:
    """A file of numbers; which process it was made in says whether to read it or to map it."""

    def __init__(self, path: str, dtype: Any, shape: Shape) -> None:
        self._pid = os.getpid()
        self.path = path
        self.dtype = dtype
        self.shape = shape


class Raw(_File):
    """A file of numbers, without a head, one frame behind the other."""

    @contextlib.contextmanager
    def opened(self, _: Any) -> Iterator[Any]:
        size = size_of(self.path)
        if size < self.shape.size * self.dtype.itemsize:
            raise DataSetError(_short(self.path, size, self.shape, self.dtype))
        if self.shape.size == 0:
            yield numpy.empty(tuple(self.shape), self.dtype)
            return
        if self._pid == os.getpid():
            yield Frames(self.path, 0, self.dtype, self.shape)
        else:
            yield numpy.memmap(self.path, self.dtype, "r", shape=tuple(self.shape))


class Npy(_File):
    """A file of numpy's, of any version and order."""

    @contextlib.contextmanager
    def opened(self, _: Any) -> Iterator[Any]:
        array = mapped_npy(self.path)
        # Axes that load was given: the elements in the order of C.
        if array.dtype != self.dtype or array.size < self.shape.size:
            raise DataSetError(
                f"{self.path} has changed since it was loaded: {array.dtype} {array.shape}, not {self.dtype} "
                f"{tuple(self.shape)}"
            )
        if isinstance(array, numpy.memmap) and self._pid == os.getpid() and array.flags.c_contiguous:
            yield Frames(self.path, array.offset, self.dtype, self.shape)
            return
        if array.shape != tuple(self.shape):
            array = array.reshape(-1)[: self.shape.size].reshape(tuple(self.shape))
        yield array


class Hdf5:
    """A data set in a file of HDF5."""

    def __init__(self, path: str, ds_path: str, dtype: Any, shape: Shape) -> None:
        self.path = path
        self.ds_path = ds_path
        self.dtype = dtype
        self.shape = shape

    @contextlib.contextmanager
    def opened(self, _: Any) -> Iterator[Any]:
        with opened_hdf5(self.path) as file:
            found = file.get(self.ds_path)
            if found is None or found.shape != tuple(self.shape) or found.dtype != self.dtype:
                raise DataSetError(
                    f"{self.path} has changed since it was loaded: no {self.ds_path} as it was"
                )
            yield found


def frames_of(array: Any, shape: Shape, start: int, stop: int, selected: Any) -> Any:
    """Frames from `start` to `stop`, or those of them that are selected, in one piece, one behind the other.

    In one piece wherever they come from: the order of additions would differ otherwise.
    """
    sig = tuple(shape.sig)
    if selected is None:
        found = _read(array, shape, start, stop)
    else:
        wanted: Any = numpy.flatnonzero(selected[start:stop]) + start
        if len(wanted) == 0:
            return numpy.empty((0, *sig), array.dtype)
        breaks: Any = numpy.flatnonzero(numpy.diff(wanted) != 1) + 1
        runs = numpy.split(wanted, breaks)
        parts = [_read(array, shape, int(run[0]), int(run[-1]) + 1) for run in runs]
        found = parts[0] if len(parts) == 1 else numpy.concatenate(parts)
    found = numpy.require(found, requirements=("C", "A"))
    found = found.view(numpy.ndarray)
    found.flags.writeable = False
    return found


def _read(array: Any, shape: Shape, start: int, stop: int) -> Any:
    if isinstance(array, Frames):
        return array.read(start, stop)
    sig, nav = tuple(shape.sig), tuple(shape.nav)
    flags = getattr(array, "flags", None)
    if flags is not None and flags.c_contiguous:
        return array.reshape((math.prod(nav), *sig))[start:stop]
    parts = []
    for box in ranges(nav, start, stop):
        part = numpy.asarray(array[box])
        parts.append(part.reshape((part.size // max(1, math.prod(sig)), *sig)))
    return parts[0] if len(parts) == 1 else numpy.concatenate(parts)


# What load asks, in a worker as well


def size_of(path: str) -> int:
    """The bytes of a regular file. Raises `OSError`, `DataSetError`."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise DataSetError(f"{path} is no regular file")
    return status.st_size


def raw_size(path: str, dtype: Any, shape: Shape) -> int:
    """How many bytes the file has more than the data set. Raises `OSError`, `DataSetError`."""
    size = size_of(path)
    needed: int = shape.size * dtype.itemsize
    if size < needed:
        raise DataSetError(_short(path, size, shape, dtype))
    return size - needed


def _short(path: str, size: int, shape: Shape, dtype: Any) -> str:
    return (
        f"{path} has {size} bytes, {shape.size * dtype.itemsize} are needed for {tuple(shape)} of {dtype}: "
        "the file was cut short, or its shape or dtype is another one"
    )


def mapped_npy(path: str) -> Any:
    """The array of a file of numpy's, mapped. Raises `OSError`, `DataSetError`."""
    size = size_of(path)
    try:
        return numpy.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        text = str(error)
        if "empty file" in text and size:  # an array without elements can't be mapped
            with contextlib.suppress(ValueError):
                return numpy.load(path)
        if "length is greater" in text or "EOF" in text or not size:
            raise DataSetError(f"{path} was cut short: it has {size} bytes ({text})") from None
        raise DataSetError(f"{path} is no file of numpy's that can be read: {text}") from None


def npy_form(path: str) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype. Raises `OSError`, `DataSetError`."""
    array = mapped_npy(path)
    return array.shape, array.dtype


@contextlib.contextmanager
def opened_hdf5(path: str) -> Iterator[Any]:
    """The file. Raises `ModuleNotFoundError` where there is no h5py, `OSError`, `DataSetError`."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "files of HDF5 are read by h5py, which is not installed here: pip install h5py", name="h5py"
        ) from None
    size_of(path)
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataSetError(f"{path} is no file of HDF5 that can be read, or was cut short: {error}") from None
    with file:
        yield file


def hdf5_form(path: str, ds_path: str | None) -> tuple[str, tuple[int, ...], Any]:
    """Path in the file, shape and dtype; of the largest data set where no path is given."""
    with opened_hdf5(path) as file:
        found: dict[str, Any] = {}

        def visit(name: str, each: Any) -> None:
            if hasattr(each, "shape") and each.shape is not None and hasattr(each, "dtype"):
                found["/" + name] = each

        file.visititems(visit)
        if ds_path is None:
            if not found:
                raise DataSetError(f"{path} has no data set")
            ds_path = max(sorted(found), key=lambda name: found[name].size)
        each = file.get(ds_path)
        if getattr(each, "shape", None) is None:
            known = ", ".join(sorted(found)[:20]) or "none"
            raise DataSetError(f"{path} has no data set {ds_path!r}: it has {known}")
        return ds_path, each.shape, each.dtype


def kind_of(path: str) -> str | None:
    """What `load("auto")` takes a file for, by its beginning. Raises `OSError`, `DataSetError`."""
    size_of(path)
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    return "hdf5" if head == b"\x89HDF\r\n\x1a\n" else None
