"""What runs in a worker: one partition read, its frames processed, the results sent back. Pure: it may run again."""

from __future__ import annotations

import copy
import types
from typing import TYPE_CHECKING, Any, Final

import numpy

from erl.compute import sources, udf
from erl.compute.buffers import Named

if TYPE_CHECKING:
    from collections.abc import Callable

    from erl.compute.shapes import Shape

TILE_BYTES: Final = 1 << 20
"""As many frames as have so many bytes are converted at once."""


class Plan:
    """What the tasks of a run have in common."""

    __slots__ = ("dtype", "selected", "source", "udfs")

    def __init__(self, udfs: list[Any], source: Any, dtype: Any, selected: Any) -> None:
        self.udfs = udfs
        self.source = source
        self.dtype = dtype
        self.selected = selected

    def __reduce__(self) -> Any:
        return Plan, (self.udfs, self.source, self.dtype, self.selected)


def process(start: int, stop: int, plan: Plan, data: Any) -> list[dict[str, Any]]:
    """The results of each function for the frames from `start` to `stop`, as arrays by their names."""
    shape = plan.source.shape
    with plan.source.opened(data) as array:
        frames = sources.frames_of(array, shape, start, stop, plan.selected)
        numbers = numbers_of(start, stop, plan.selected)
        return [_processed(each, frames, numbers, shape, plan) for each in plan.udfs]


def mapped(start: int, stop: int, plan: Plan, data: Any) -> Any:
    """What a function gives for each of the frames, as one array."""
    shape = plan.source.shape
    (function,) = plan.udfs
    wanted = numpy.result_type(numpy.float32, plan.dtype).newbyteorder("=")
    with plan.source.opened(data) as array:
        frames = sources.frames_of(array, shape, start, stop, plan.selected)
        numbers = numbers_of(start, stop, plan.selected)
        found = []
        for index, frame in converted(frames, wanted):
            try:
                found.append(numpy.asarray(function(frame)))
            except Exception as error:
                located(error, frame_text(_name(function), numbers[index], shape))
                raise
            if found[-1].shape != found[0].shape:
                raise ValueError(
                    f"{frame_text(_name(function), numbers[index], shape)}: its result has the shape "
                    f"{found[-1].shape}, the one of frame {numbers[0]} has {found[0].shape}"
                )
        return numpy.stack(found)


def numbers_of(start: int, stop: int, selected: Any) -> Any:
    """The numbers of the frames of a partition that are selected."""
    numbers = numpy.arange(start, stop)
    return numbers if selected is None else numbers[selected[start:stop]]


def converted(frames: Any, dtype: Any) -> Any:
    """Each frame and its place among them, in this type; nobody can write it."""
    depth = max(1, TILE_BYTES // max(1, frames[:1].nbytes))
    for first in range(0, len(frames), depth):
        tile = _read_only(frames[first : first + depth], dtype)
        yield from enumerate(tile, first)


def _read_only(frames: Any, dtype: Any) -> Any:
    made = frames.astype(dtype, copy=False)
    made.flags.writeable = False
    return made


def _processed(original: Any, frames: Any, numbers: Any, shape: Shape, plan: Plan) -> dict[str, Any]:
    running = copy.copy(original)
    method = udf.method_of(running)
    name = type(running).__name__
    meta = udf.Meta(shape, plan.dtype, udf.input_dtype(running, plan.dtype), plan.selected)
    meta.partition_shape = (len(frames), *shape.sig)
    meta.at(numbers)
    running.meta = meta
    part = f"frames {numbers[0]} to {numbers[-1]}"
    buffers: dict[str, Any] = _call(udf.declared, f"in {name}.get_result_buffers", running)
    arrays = udf.allocated(buffers, len(frames), shape.sig)
    running.results = views = udf.Views(arrays, buffers)
    get_task_data = getattr(running, "get_task_data", dict)
    running.task_data = Named(_call(get_task_data, f"in {name}.get_task_data, {part}"))
    if hasattr(running, "preprocess"):
        _call(running.preprocess, f"in {name}.preprocess, {part}")
    if method == "process_frame":
        for index, frame in converted(frames, meta.input_dtype):
            views.at(index)
            meta.at(numbers[index : index + 1])
            try:
                running.process_frame(frame)
            except Exception as error:
                where = frame_text(f"{name}.process_frame", numbers[index], shape)
                located(error, where)
                raise
        views.whole()
        meta.at(numbers)
    else:
        whole = _read_only(frames, meta.input_dtype)
        _call(running.process_partition, f"in {name}.process_partition, {part}", whole)
    if hasattr(running, "postprocess"):
        _call(running.postprocess, f"in {name}.postprocess, {part}")
    return arrays


def _call(function: Callable[..., Any], where: str, *args: Any) -> Any:
    try:
        return function(*args)
    except Exception as error:
        located(error, where)
        raise


def frame_text(name: str, number: Any, shape: Shape) -> str:
    """Which frame a method was at."""
    nav = tuple(shape.nav)
    place = tuple(int(each) for each in numpy.unravel_index(number, nav)) if nav else ()
    return f"in {name}, frame {int(number)}" + (f", at {place}" if len(nav) > 1 else "")


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def located(error: Exception, where: str) -> None:
    """Have an error say where it was raised: in its own text where that is its only argument, else in a note."""
    kind = type(error)
    has_own_form = kind.__str__ is not BaseException.__str__ or isinstance(kind.__init__, types.FunctionType)
    if not has_own_form and not error.args:
        error.args = (where,)
    elif not has_own_form and len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"{error.args[0]} ({where})",)
    else:
        notes = [*getattr(error, "__notes__", ()), where]
        error.__notes__ = notes  # type: ignore[attr-defined]
