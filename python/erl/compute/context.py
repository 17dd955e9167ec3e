"""The way in: a `Context` loads data sets and runs analyses and functions on them, by an executor."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from erl.compute import specs
from erl.executors.local import over

if TYPE_CHECKING:
    from collections.abc import Callable

    from erl.compute.analyses import Analysis
    from erl.compute.buffers import BufferResult, Results
    from erl.compute.datasets import DataSet
    from erl.compute.results import AnalysisResultSet
    from erl.executors import Executor


class Context:
    """Loads data sets, runs analyses and functions. With `with` it is closed at the end. May be used by any thread.

    `executor`    what computes; the default node's pool where there is none. It is closed with the Context
    `plot_class`  called with a list of results and the arguments of `plot()`, gives the picture; matplotlib's figures
                  where there is none
    """

    def __init__(
        self, executor: Executor | concurrent.futures.Executor | None = None, plot_class: Any = None
    ) -> None:
        self._given = executor  # a pool of its own would end with it
        if executor is None:
            executor = specs.factory_of("pool")()
        elif isinstance(executor, concurrent.futures.Executor):
            executor = over(executor)
        elif not callable(getattr(executor, "run_calls", None)):
            raise TypeError(f"executor is one of erl.executors, or None: not a {type(executor).__name__}")
        self._executor: Executor = executor
        self._is_closed = False
        self.plot_class = plot_class

    @classmethod
    def make_with(
        cls,
        spec: str = "pool",
        *,
        cpus: Any = None,
        gpus: Any = None,
        plot_class: Any = None,
        snooze_timeout: float | None = None,
    ) -> Context:
        """One with an executor of its own.

        `spec`  "inline" or "synchronous": in the calling thread; "threads"; "pool": the workers of a node, of the
                default pool unless `cpus` says how many of its own; "dask": a local cluster of `distributed`'s
        `cpus`, `gpus`    how many workers, or their ids
        `snooze_timeout`  minutes without a run after which the executor is closed; the next run makes it anew

        Raises `ExecutorSpecException`.
        """
        made_by = specs.factory_of(spec, cpus, gpus)
        if snooze_timeout is None:
            return cls(made_by(), plot_class)
        from erl.compute.snoozing import Snoozing

        return cls(Snoozing(made_by, snooze_timeout * 60), plot_class)

    @property
    def executor(self) -> Executor:
        """What computes."""
        return self._executor

    def close(self) -> None:
        """Close the executor; what runs is cancelled. What is asked later raises `RuntimeError`."""
        self._is_closed = True
        self._executor.close()

    def cancel(self) -> None:
        """Cancel what runs: `run`, `run_udf` and `map` raise `JobCancelledError` in the threads that wait for them."""
        self._executor.cancel(self)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError("the Context is closed")

    def load(self, filetype: str, /, *args: Any, **kwargs: Any) -> DataSet:
        """A data set; its data are read when it is used, by the workers.

        "memory"  `data`, `sig_dims=2`
        "npy"     `path`, `sig_dims=2`
        "raw"     `path`, `dtype`, `nav_shape`, `sig_shape`
        "hdf5"    `path`, `ds_path` (the largest), `sig_dims=2`
        "auto"    `path`: one of "npy" and "hdf5"; an array is "memory"

        With `num_partitions` in other parts than it is cut by itself. Raises `DataSetError`, `OSError`, `ValueError`.
        """
        self._check_open()
        from erl.compute.datasets import KINDS, release_given_up

        release_given_up()
        if filetype not in KINDS:
            raise ValueError(f"there is no kind of data set {filetype!r}: there are {', '.join(KINDS)}")
        found: DataSet = KINDS[filetype](self._executor, *args, **kwargs)
        return found

    # Analyses

    def create_sum_analysis(self, dataset: DataSet) -> Analysis:
        """The sum of all frames: `intensity`."""
        from erl.compute import analyses

        return analyses.SumAnalysis(dataset, {})

    def create_mask_analysis(
        self,
        dataset: DataSet,
        factories: Any,
        use_sparse: bool | None = None,
        mask_count: int | None = None,
        mask_dtype: Any = None,
        dtype: Any = None,
    ) -> Analysis:
        """The sum of each frame under each mask: `mask_0`, `mask_1`, ...

        `factories`   functions without arguments that make a mask each, of the shape of a frame; or one, which may
                      make several along a first axis more. They are called here, once
        `use_sparse`  look at elements other than zero only; None: where all masks are sparse
        """
        from erl.compute import analyses
        from erl.compute.datasets import DataSet

        if isinstance(factories, DataSet):  # LiberTEM's order
            dataset, factories = factories, dataset
        return analyses.MasksAnalysis(dataset, factories, use_sparse, mask_count, mask_dtype, dtype)

    def create_disk_analysis(
        self, dataset: DataSet, cx: Any = None, cy: Any = None, r: Any = None
    ) -> Analysis:
        """The sum of each frame in a filled circle: `intensity`."""
        from erl.compute import analyses

        return analyses.disk(dataset, cx, cy, r)

    def create_ring_analysis(
        self, dataset: DataSet, cx: Any = None, cy: Any = None, ri: Any = None, ro: Any = None
    ) -> Analysis:
        """The sum of each frame in a ring, without the circle of radius `ri`: `intensity`."""
        from erl.compute import analyses

        return analyses.ring(dataset, cx, cy, ri, ro)

    def create_point_analysis(self, dataset: DataSet, x: Any = None, y: Any = None) -> Analysis:
        """One element of each frame: `intensity`."""
        from erl.compute import analyses

        return analyses.PointAnalysis(dataset, x, y)

    def create_com_analysis(
        self,
        dataset: DataSet,
        cx: Any = None,
        cy: Any = None,
        mask_radius: float | None = None,
        flip_y: bool = False,
        mask_radius_inner: float | None = None,
        scan_rotation: float = 0.0,
    ) -> Analysis:
        """How far each frame's centre of mass is from a point: `x`, `y`, `field`, `magnitude`, `divergence`, `curl`.

        `mask_radius`, `mask_radius_inner`  only what is in this circle, or ring, around the point
        `flip_y`, `scan_rotation`           turn the vectors over, and by so many degrees
        """
        from erl.compute import analyses

        return analyses.ComAnalysis(dataset, cx, cy, mask_radius, flip_y, mask_radius_inner, scan_rotation)

    def create_pick_analysis(
        self, dataset: DataSet, *nav: Any, x: Any = None, y: Any = None, z: Any = None
    ) -> Analysis:
        """One frame: `intensity`. Coordinates in the order of the axes; or by LiberTEM's names: `z`, `y`, `x`."""
        from erl.compute import analyses

        named = tuple(each for each in (z, y, x) if each is not None)
        if nav and named:
            raise TypeError("coordinates in the order of the axes, or x, y and z: not both")
        if len(nav) == 1 and isinstance(nav[0], (tuple, list)):
            nav = tuple(nav[0])
        return analyses.PickAnalysis(dataset, nav or named)

    # Runs

    def run(self, analysis: Analysis, roi: Any = None, progress: Any = False) -> AnalysisResultSet:
        """The results of an analysis, by their names.

        `roi`       an array of bool with the shape of the navigation axes: the frames that count; or coordinates of one
        `progress`  True: a bar of tqdm's; None: where somebody is at the terminal; a function of done and total
        """
        from erl.compute.results import AnalysisResultSet

        if roi is not None and analysis.roi is not None:
            raise ValueError("this analysis is about one frame: it takes no roi")
        chosen = analysis.roi if roi is None else roi
        (found,) = self._run([analysis.udf()], analysis.dataset, chosen, progress)
        return AnalysisResultSet(analysis.results(found), self.plot_class)

    def run_udf(self, dataset: DataSet, udf: Any, roi: Any = None, progress: Any = False) -> Any:
        """The results of a function, by their names; of a list of functions, a list. One pass over the data."""
        if isinstance(udf, (list, tuple)):
            if not udf:
                raise ValueError("an empty list of functions: there is nothing to run")
            return self._run(list(udf), dataset, roi, progress)
        (found,) = self._run([udf], dataset, roi, progress)
        return found

    def map(
        self, dataset: DataSet, f: Callable[[Any], Any], roi: Any = None, progress: Any = False
    ) -> BufferResult:
        """`f(frame)` of each frame: numbers or arrays of one shape."""
        self._check_open()
        from erl.compute import runs

        if not callable(f):
            raise TypeError(f"map takes a function of a frame, not a {type(f).__name__}")
        return runs.map_frames(self._executor, dataset, f, roi, progress, self)

    def _run(self, udfs: list[Any], dataset: DataSet, roi: Any, progress: Any) -> list[Results]:
        self._check_open()
        from erl.compute import runs

        for each in udfs:
            if isinstance(each, type):
                raise TypeError(f"{each.__name__} is a class: run an object of it, {each.__name__}()")
        return runs.run_udfs(self._executor, dataset, udfs, roi, progress, self)

    def __repr__(self) -> str:
        return f"<Context on {type(self._executor).__name__}{', closed' if self._is_closed else ''}>"


_NAMES = ("sum", "mask", "disk", "ring", "point", "com", "pick")


def analyse(
    data: Any,
    name: Any,
    *nav: Any,
    sig_dims: int = 2,
    executor: Any = "inline",
    roi: Any = None,
    **parameters: Any,
) -> dict[str, Any]:
    """The arrays of an analysis by their names, in one call: for callers in Erlang.

    `name`      "sum", "disk", "ring", "point", "com" or "pick", with the parameters of `Context.create_..._analysis`;
                "mask" with `masks`: an array, or several of them
    `data`      an array, which may lie in shared memory, or the path of a file
    `executor`  as for `Context.make_with`; inline is in the worker that was called. "pool" is for nodes with a gateway,
                and for pools with other workers than that one
    """
    kind = _text(name)
    if kind not in _NAMES:
        raise ValueError(f"there is no analysis {kind!r}: there are {', '.join(_NAMES)}")
    with Context.make_with(_text(executor)) as context:
        loaded = context.load("auto", _text(data), sig_dims=sig_dims)
        if "masks" in parameters:
            given = parameters.pop("masks")
            parameters["factories"] = (
                [lambda each=each: each for each in given] if type(given) is list else lambda: given
            )
        analysis = getattr(context, f"create_{kind}_analysis")(loaded, *nav, **parameters)
        found: dict[str, Any] = {}
        for each in context.run(
            analysis, roi
        ):  # what differs in its picture alone, and pairs, are there already
            if not isinstance(each.raw_data, tuple) and not any(
                each.raw_data is known for known in found.values()
            ):
                found[each.key] = each.raw_data
        return found


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else str(value) if isinstance(value, str) else value
