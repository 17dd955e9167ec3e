"""User-defined functions: what a class of yours may have, and what it finds while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy

from erl.compute.buffers import Buffer, Named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from erl.compute.shapes import Shape


class Params:
    """What a function was made with, by attributes and items. Not to be changed."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getattr__(self, name: str) -> Any:
        if name == "_values":  # while it is unpickled
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no parameter is named {name!r}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def get(self, name: str, default: Any = None) -> Any:
        """The parameter, or the default where there is none of that name."""
        return self._values.get(name, default)

    def keys(self) -> Any:
        """The names."""
        return self._values.keys()

    def __reduce__(self) -> Any:
        return Params, (self._values,)


class Meta:
    """What a function may know of what it runs on.

    `dataset_shape` (with `.nav` and `.sig`), `dataset_dtype`, `input_dtype` (what frames come as), `roi` (an array of
    bool, or None); while it runs in a worker `partition_shape` and `coordinates`: a row for each frame at hand.
    """

    def __init__(self, shape: Shape, dtype: Any, input_dtype: Any, selected: Any) -> None:
        self.dataset_shape = shape
        self.dataset_dtype = dtype
        self.input_dtype = input_dtype
        self.roi = None if selected is None else selected.reshape(tuple(shape.nav))
        self.partition_shape: Any = None
        self._frames: Any = None

    def at(self, frames: Any) -> None:
        """Which frames are at hand."""
        self._frames = frames

    @property
    def coordinates(self) -> Any:
        """Of the frames at hand, one row for each."""
        if self._frames is None:
            raise RuntimeError("coordinates are known while frames are processed")
        nav = tuple(self.dataset_shape.nav)
        if not nav:
            return numpy.zeros((len(self._frames), 0), int)
        return numpy.stack(numpy.unravel_index(self._frames, nav), axis=-1)


class UDF:
    """The base of functions over data sets; keyword arguments are `self.params` in the workers.

    A class of yours has `get_result_buffers`, one of `process_frame(frame)` and `process_partition(partition)`, and
    `merge(dest, src)` unless all its buffers are of kind "nav". More, as there is need: `preprocess` and `postprocess`
    (in the worker, before and after the frames of a partition), `get_task_data`, `get_results` (in the end, here).
    """

    USE_NATIVE_DTYPE: Final = numpy.dtype(bool)
    """As `get_preferred_input_dtype`: frames as the data set has them."""

    params: Any = Params({})
    results: Any = None
    task_data: Any = None
    meta: Any = None

    def __init__(self, **kwargs: Any) -> None:
        self.params = Params(kwargs)

    def buffer(
        self,
        kind: str,
        extra_shape: Any = (),
        dtype: Any = "float32",
        where: str | None = None,
        use: str | None = None,
    ) -> Buffer:
        """The declaration of a result, for `get_result_buffers`."""
        return Buffer(kind, extra_shape, dtype, use)

    def get_result_buffers(self) -> dict[str, Buffer]:
        """The results by their names."""
        raise NotImplementedError(f"{type(self).__name__} has no get_result_buffers")

    def get_preferred_input_dtype(self) -> Any:
        """What frames come as: this, or wider where the data set needs it (`numpy.result_type`)."""
        return numpy.float32

    def get_task_data(self) -> dict[str, Any]:
        """What `self.task_data` has in the worker, made for each partition."""
        return {}

    def merge(self, dest: Any, src: Any) -> None:
        """Put the results of a partition into those of the whole, in the order of partitions."""
        merge_nav(self, dest, src)

    def get_results(self) -> dict[str, Any]:
        """The results from `self.results`, after the last merge. Those it leaves out are as they were merged."""
        return {}


def merge_nav(udf: Any, dest: Any, src: Any) -> None:
    """What merges where a class has no `merge`: results for each frame go to their places."""
    others = [
        name for name, each in udf._declared.items() if each.kind != "nav" and each.use != "result_only"
    ]
    if others:
        raise NotImplementedError(
            f"{type(udf).__name__} has no merge(dest, src), which results of kind sig and single need: "
            + ", ".join(others)
        )
    for name in dest:
        dest[name] = src[name]


def declared(udf: Any) -> dict[str, Buffer]:
    """The buffers that a function declares. Raises `TypeError`."""
    found = udf.get_result_buffers()
    if not isinstance(found, dict):
        raise TypeError(f"{type(udf).__name__}.get_result_buffers gave no dict: {type(found).__name__}")
    made = {}
    for name, each in found.items():
        if isinstance(each, dict):
            each = Buffer(**each)
        if not isinstance(each, Buffer):
            raise TypeError(
                f"{type(udf).__name__}.get_result_buffers: {name!r} is no buffer, which self.buffer(kind, ...) makes"
            )
        made[name] = each
    return made


def method_of(udf: Any) -> str:
    """The name of the method that processes. Raises `TypeError`."""
    for name in ("process_frame", "process_partition"):
        if callable(getattr(udf, name, None)):
            return name
    if callable(getattr(udf, "process_tile", None)):
        raise TypeError(
            f"{type(udf).__name__} has process_tile, which is LiberTEM's: here a function has process_frame(frame) or "
            "process_partition(partition)"
        )
    raise TypeError(f"{type(udf).__name__} has neither process_frame(frame) nor process_partition(partition)")


def input_dtype(udf: Any, dtype: Any) -> Any:
    """What its frames come as, in this machine's byte order."""
    preferred = getattr(udf, "get_preferred_input_dtype", None)
    wanted = numpy.float32 if preferred is None else preferred()
    return numpy.result_type(wanted, dtype).newbyteorder("=")


def allocated(buffers: Mapping[str, Buffer], frames: int, sig: tuple[int, ...]) -> dict[str, Any]:
    """Arrays of zeros for the buffers that are filled by processing."""
    return {
        name: numpy.zeros(each.shape_for(frames, sig), each.dtype)
        for name, each in buffers.items()
        if each.use != "result_only"
    }


class Views(Named):
    """`self.results` while frames are processed: of kind "nav", what belongs to the frame at hand."""

    __slots__ = ("_nav", "_whole")

    _nav: list[tuple[str, Any, bool]]
    _whole: dict[str, Any]

    def __init__(self, arrays: dict[str, Any], buffers: Mapping[str, Buffer]) -> None:
        super().__init__(arrays)
        object.__setattr__(self, "_whole", arrays)
        nav = [
            (name, array, bool(buffers[name].extra_shape))
            for name, array in arrays.items()
            if buffers[name].kind == "nav"
        ]
        object.__setattr__(self, "_nav", nav)

    def at(self, index: int) -> None:
        """The frame at hand is this one of the partition's."""
        for name, array, has_extra in self._nav:
            self._arrays[name] = array[index] if has_extra else array[index : index + 1]

    def whole(self) -> None:
        """All frames of the partition are at hand."""
        self._arrays.update(self._whole)
