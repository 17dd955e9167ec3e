"""A run in the driver: tasks for the partitions, their results merged in the order of partitions."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy

from erl.compute import tasks, udf
from erl.compute.buffers import Buffer, BufferResult, Named, Results
from erl.compute.datasets import release_given_up
from erl.compute.shapes import selection, warn
from erl.compute.tasks import located
from erl.errors import WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from erl.compute.datasets import DataSet
    from erl.executors import Executor

RETRIES: Final = 2
"""So often a task is sent again whose worker died: tasks only read."""


def run_udfs(
    executor: Executor, dataset: DataSet, udfs: list[Any], roi: Any, progress: Any, cancel_id: Any
) -> list[Results]:
    """The results of each function."""
    selected = selection(roi, dataset.shape.nav)
    merges = [_Merge(each, dataset, selected) for each in udfs]
    plan = tasks.Plan(udfs, dataset.source, dataset.dtype, selected)
    for bounds, found in _results(executor, dataset, tasks.process, plan, progress, cancel_id):
        for merge, arrays in zip(merges, found, strict=True):
            merge.take(bounds, arrays)
    return [merge.results() for merge in merges]


def map_frames(
    executor: Executor,
    dataset: DataSet,
    function: Callable[[Any], Any],
    roi: Any,
    progress: Any,
    cancel_id: Any,
) -> BufferResult:
    """The results of a function of a frame."""
    selected = selection(roi, dataset.shape.nav)
    plan = tasks.Plan([function], dataset.source, dataset.dtype, selected)
    parts: list[Any] = []
    for bounds, part in _results(executor, dataset, tasks.mapped, plan, progress, cancel_id):
        if parts and part.shape[1:] != parts[0].shape[1:]:
            raise ValueError(
                f"the results for frames {bounds[0]} to {bounds[1] - 1} have the shape {part.shape[1:]}, "
                f"those before them {parts[0].shape[1:]}"
            )
        parts.append(part)
    if parts:
        array = numpy.concatenate(parts)
    else:  # no frame: the shape is that for one of ones
        dtype = numpy.result_type(numpy.float32, dataset.dtype).newbyteorder("=")
        one = numpy.asarray(function(numpy.ones(tuple(dataset.shape.sig), dtype)))
        array = numpy.zeros((0, *one.shape), one.dtype)
    return BufferResult(Buffer("nav", array.shape[1:], array.dtype), array, dataset.shape, selected)


def _results(
    executor: Executor, dataset: DataSet, function: Any, plan: tasks.Plan, progress: Any, cancel_id: Any
) -> Iterator[tuple[tuple[int, int], Any]]:
    """Where each partition is that has selected frames, and what its task gave, in their order."""
    release_given_up()
    selected = plan.selected
    counts = {
        bounds: bounds[1] - bounds[0] if selected is None else int(selected[slice(*bounds)].sum())
        for bounds in dataset.partitions
    }
    parts = [bounds for bounds in dataset.partitions if counts[bounds]]
    if not parts:
        return
    shown = _reporter(progress, sum(counts.values()))
    handle = executor.scatter(plan)
    done = 0
    try:
        data = dataset.scattered(executor)
        calls = ((function, (*bounds, handle, data)) for bounds in parts)
        results = executor.run_calls(calls, cancel_id, retries=RETRIES)
        try:
            for bounds, found in zip(parts, results, strict=True):
                yield bounds, found
                done += 1
                shown(counts[bounds])
        except WorkerLostError as error:
            first, last = parts[done][0], parts[done][1] - 1
            located(error, f"at frames {first} to {last}, tried {RETRIES + 1} times")
            raise
        finally:
            results.close()  # type: ignore[attr-defined]
    finally:
        shown(None)
        executor.release(handle)


class _Merge:
    """The results of one function as they come."""

    def __init__(self, original: Any, dataset: DataSet, selected: Any) -> None:
        self._udf = copy.copy(original)
        self._shape = dataset.shape
        self._selected = selected
        self._name = type(original).__name__
        udf.method_of(original)
        dtype = udf.input_dtype(original, dataset.dtype)
        self._udf.meta = udf.Meta(dataset.shape, dataset.dtype, dtype, selected)
        self._declared = udf.declared(self._udf)
        self._udf._declared = self._declared
        frames = dataset.shape.nav.size if selected is None else int(selected.sum())
        self._arrays = udf.allocated(self._declared, frames, dataset.shape.sig)
        self._at = 0
        self._udf.results = Named(self._arrays)

    def take(self, bounds: tuple[int, int], arrays: dict[str, Any]) -> None:
        """Merge the results of the next partition."""
        count = len(tasks.numbers_of(*bounds, self._selected))
        dest = {
            name: each[self._at : self._at + count] if self._declared[name].kind == "nav" else each
            for name, each in self._arrays.items()
        }
        self._at += count
        merge = getattr(self._udf, "merge", None)
        try:
            if merge is None:
                udf.merge_nav(self._udf, Named(dest), Named(arrays))
            else:
                merge(Named(dest), Named(arrays))
        except NotImplementedError:
            raise
        except Exception as error:
            where = f"in {self._name}.merge, frames {bounds[0]} to {bounds[1] - 1}"
            located(error, where)
            raise

    def results(self) -> Results:
        """All that is not private."""
        made: dict[str, Any] = {}
        if hasattr(self._udf, "get_results"):
            try:
                made = dict(self._udf.get_results())
            except Exception as error:
                located(error, f"in {self._name}.get_results")
                raise
        frames = self._udf.meta.roi
        count = self._shape.nav.size if frames is None else int(frames.sum())
        found = Results()
        for name, each in made.items():
            if name not in self._declared:
                raise ValueError(
                    f"{self._name}.get_results gave {name!r}, which get_result_buffers does not declare: "
                    'self.buffer(kind, ..., use="result_only")'
                )
            if self._declared[name].use == "private":
                raise ValueError(f"{self._name}.get_results gave {name!r}, which is private")
            found[name] = self._result(name, each, count)
        for name, each in self._declared.items():
            if name not in found and each.use == "result_only":
                raise ValueError(
                    f"{self._name}.get_results has to give {name!r}, which is declared result_only"
                )
            if name not in found and each.use is None:
                found[name] = self._result(name, self._arrays[name], count)
        return found

    def _result(self, name: str, value: Any, count: int) -> BufferResult:
        declared = self._declared[name]
        array = numpy.asarray(value)
        shape = declared.shape_for(count, self._shape.sig)
        if array.shape != shape:
            whole = (*self._shape.nav, *declared.extra_shape)
            if declared.kind != "nav" or self._selected is not None or array.shape != whole:
                raise ValueError(
                    f"{self._name}.get_results: {name!r} has the shape {array.shape}, not {shape} as declared"
                )
            array = array.reshape(shape)
        if array.dtype != declared.dtype:
            if not numpy.can_cast(array.dtype, declared.dtype, "same_kind"):
                raise TypeError(
                    f"{self._name}.get_results: {name!r} is of {array.dtype}, not of {declared.dtype} as declared"
                )
            array = array.astype(declared.dtype)
        return BufferResult(declared, array, self._shape, self._selected)


def _reporter(progress: Any, total: int) -> Callable[[int | None], object]:
    """Called with how many frames more are done; with None at the end, however it comes."""
    if callable(progress):
        return _Counting(progress, total)
    if progress is False or (progress is None and not sys.stderr.isatty()):
        return lambda count: None
    if progress not in (True, None):
        raise TypeError(f"progress is True, False, None, or a function of done and total, not {progress!r}")
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        if progress:
            warn("no progress is shown: tqdm is not installed here (pip install tqdm)")
        return lambda count: None
    bar = tqdm(total=total, unit="frame")
    return lambda count: bar.close() if count is None else bar.update(count)


class _Counting:
    def __init__(self, told: Callable[[int, int], object], total: int) -> None:
        self._told = told
        self._total = total
        self._done = 0

    def __call__(self, count: int | None) -> None:
        if count is not None:
            self._done += count
            self._told(self._done, self._total)
