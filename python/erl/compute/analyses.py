"""Analyses: a function over a data set, and the names of its results. LiberTEM's parameters, defaults and names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy

from erl.compute import masks
from erl.compute.results import AnalysisResult
from erl.compute.shapes import coordinates
from erl.compute.udf import UDF

if TYPE_CHECKING:
    from erl.compute.buffers import Results
    from erl.compute.datasets import DataSet

_MOST_FLOATS: Final = 64
"""Frames of float32 are added in float32 up to so many, their sums in float64."""

_LEAST_BYTES: Final = 4096
"""Frames that have less are added in float64: there are too many sums."""

_MOST_INTEGERS: Final = 4096
"""Frames of 16 bits that can be added in 32."""


class Analysis:
    """An analysis of a data set, which `Context.run` runs."""

    def __init__(self, dataset: DataSet, parameters: dict[str, Any]) -> None:
        self.dataset = dataset
        self.parameters = parameters

    @property
    def roi(self) -> Any:
        """The frames that it is about; None where the caller may choose."""
        return None

    def udf(self) -> UDF:
        """The function that is run."""
        raise NotImplementedError

    def results(self, found: Results) -> list[AnalysisResult]:
        """Its results from those of the function."""
        raise NotImplementedError

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"<{type(self).__name__} of {self.dataset!r}: {given}>"


# Sums of frames


class SumUDF(UDF):
    """The sum of all frames; integers exactly, floats by way of a wider type."""

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> Any:
        final, _, total = _sum_types(self.meta.dataset_dtype)
        return {
            "total": self.buffer("sig", dtype=total, use="private"),
            "intensity": self.buffer("sig", dtype=final, use="result_only"),
        }

    def process_partition(self, partition: Any) -> None:
        """Add the frames tile by tile."""
        _, work, total = _sum_types(self.meta.dataset_dtype)
        depth = _MOST_INTEGERS
        if work.kind in "fc" and work != total:
            depth = _MOST_FLOATS
            if partition[:1].nbytes < _LEAST_BYTES:
                work = total
        if work == total:
            depth = max(1, len(partition))
        for first in range(0, len(partition), depth):
            self.results.total[...] += partition[first : first + depth].sum(axis=0, dtype=work)

    def merge(self, dest: Any, src: Any) -> None:
        dest.total += src.total

    def get_results(self) -> Any:
        final, _, _ = _sum_types(self.meta.dataset_dtype)
        return {"intensity": self.results.total.astype(final)}


def _sum_types(dtype: Any) -> tuple[Any, Any, Any]:
    """What a sum is of, what tiles are added in, and what their sums are."""
    dtype = numpy.dtype(dtype).newbyteorder("=")
    if dtype.kind in "bui":
        final = numpy.dtype("uint64" if dtype.kind == "u" else "int64")
        if dtype.itemsize > 2:
            return final, final, final
        return final, numpy.dtype("int32" if dtype.kind == "i" else "uint32"), final
    wide = {"e": "float64", "f": "float64", "F": "complex128"}.get(dtype.char)
    if wide is None:
        return dtype, dtype, dtype
    first = numpy.dtype("float32") if dtype.char == "e" else dtype
    return first, first, numpy.dtype(wide)


class SumAnalysis(Analysis):
    """All frames added, the axes of a frame kept."""

    def udf(self) -> UDF:
        return SumUDF()

    def results(self, found: Results) -> list[AnalysisResult]:
        return _image(found.intensity.data, "sum of all frames")


class PickUDF(UDF):
    """One frame as it is."""

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> Any:
        return {"intensity": self.buffer("sig", dtype=self.meta.input_dtype)}

    def process_partition(self, partition: Any) -> None:
        """Keep the first."""
        self.results.intensity[...] = partition[0]

    def merge(self, dest: Any, src: Any) -> None:
        dest.intensity = src.intensity


class PickAnalysis(Analysis):
    """One frame."""

    def __init__(self, dataset: DataSet, nav: tuple[Any, ...]) -> None:
        place = coordinates(nav, dataset.shape.nav)
        super().__init__(dataset, {"nav": place})

    @property
    def roi(self) -> Any:
        return self.parameters["nav"]

    def udf(self) -> UDF:
        return PickUDF()

    def results(self, found: Results) -> list[AnalysisResult]:
        return _image(found.intensity.data, f"the frame at {self.parameters['nav']}")


def _image(data: Any, desc: str) -> list[AnalysisResult]:
    """A frame: looked at by the logarithm first."""
    if data.dtype.kind == "c":
        return _complex(data, "intensity", desc, log_first=True)
    return [
        AnalysisResult("intensity", data, "intensity [log]", desc, log=True),
        AnalysisResult("intensity_lin", data, "intensity [lin]", desc),
    ]


def _complex(data: Any, key: str, desc: str, log_first: bool = False) -> list[AnalysisResult]:
    size = numpy.abs(data)
    lin, log = (f"{key}_lin", key) if log_first else (key, f"{key}_log")
    return [
        AnalysisResult(lin, size, f"{key} [magn]", desc),
        AnalysisResult(log, size, f"{key} [log(magn)]", desc, log=True),
        AnalysisResult(f"{key}_real", data.real, f"{key} [real]", desc),
        AnalysisResult(f"{key}_imag", data.imag, f"{key} [imag]", desc),
        AnalysisResult(f"{key}_angle", numpy.angle(data), f"{key} [angle]", desc),
        AnalysisResult(f"{key}_complex", data, f"{key} [complex]", desc),
    ]


# Frames under masks


class MasksUDF(UDF):
    """The sums of each frame under each mask."""

    def __init__(self, stack: masks.Stack, count: int, wide: bool = False) -> None:
        super().__init__(stack=stack, count=count, wide=wide)

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> Any:
        stack = self.params.stack
        dtype = stack.sum_dtype if self.params.wide else stack.dtype
        return {"intensity": self.buffer("nav", (self.params.count,), dtype)}

    def process_partition(self, partition: Any) -> None:
        """All frames at once."""
        self.results.intensity[...] = self.params.stack.sums(partition)


class MasksAnalysis(Analysis):
    """Virtual detectors: each frame times each mask, added up."""

    def __init__(
        self,
        dataset: DataSet,
        factories: Any,
        use_sparse: bool | None = None,
        mask_count: int | None = None,
        mask_dtype: Any = None,
        dtype: Any = None,
        desc: str = "sum under the mask",
    ) -> None:
        super().__init__(dataset, {"use_sparse": use_sparse, "mask_dtype": mask_dtype, "dtype": dtype})
        found, sparse = masks.made_by(factories, tuple(dataset.shape.sig), use_sparse, mask_dtype)
        if mask_count is not None and mask_count != len(found):
            raise ValueError(f"mask_count is {mask_count}, the factories have made {len(found)}")
        self._stack = masks.Stack(found, dataset.dtype, dtype, sparse)
        self._count = len(found)
        self._desc = desc

    def udf(self) -> UDF:
        return MasksUDF(self._stack, self._count)

    def results(self, found: Results) -> list[AnalysisResult]:
        data = _with_nan(found.intensity)
        made: list[AnalysisResult] = []
        for number in range(self._count):
            made += self._of_mask(data[..., number], number)
        return made

    def _of_mask(self, data: Any, number: int) -> list[AnalysisResult]:
        if data.dtype.kind == "c":
            return _complex(data, f"mask_{number}", self._desc)
        return [AnalysisResult(f"mask_{number}", data, f"mask {number}", self._desc)]


class SingleMaskAnalysis(MasksAnalysis):
    """One virtual detector."""

    def _of_mask(self, data: Any, number: int) -> list[AnalysisResult]:
        return _value(data, self._desc)


def _value(data: Any, desc: str) -> list[AnalysisResult]:
    """A number for each frame."""
    if data.dtype.kind == "c":
        return _complex(data, "intensity", desc)
    return [
        AnalysisResult("intensity", data, "intensity [lin]", desc),
        AnalysisResult("intensity_log", data, "intensity [log]", desc, log=True),
    ]


def _with_nan(result: Any) -> Any:
    """With NaN for frames that were not selected, also where the others are integers."""
    data = result.data
    if data.dtype.kind not in "iub" or result.valid_mask.all():
        return data
    return numpy.where(result.valid_mask, data.astype("float64"), numpy.nan)


def disk(dataset: DataSet, cx: Any = None, cy: Any = None, r: Any = None) -> Analysis:
    """The sum in a filled circle."""
    height, width = _plane(dataset)
    cy, cx = _middle(cy, height, "cy"), _middle(cx, width, "cx")
    _check_radii(r=r)
    r = min(height, width) / 2 * 0.3 if r is None else r
    found = SingleMaskAnalysis(
        dataset, lambda: masks.circular(cy, cx, (height, width), r), desc="sum in the disk"
    )
    found.parameters = {"cx": cx, "cy": cy, "r": r}
    return found


def ring(dataset: DataSet, cx: Any = None, cy: Any = None, ri: Any = None, ro: Any = None) -> Analysis:
    """The sum in a ring."""
    height, width = _plane(dataset)
    cy, cx = _middle(cy, height, "cy"), _middle(cx, width, "cx")
    _check_radii(ri=ri, ro=ro)
    ro = min(height, width) / 2 if ro is None else ro
    ri = ro * 0.8 if ri is None else ri
    found = SingleMaskAnalysis(
        dataset, lambda: masks.ring(cy, cx, (height, width), ro, ri), desc="sum in the ring"
    )
    found.parameters = {"cx": cx, "cy": cy, "ri": ri, "ro": ro}
    return found


class PointUDF(UDF):
    """One element of each frame."""

    def get_preferred_input_dtype(self) -> Any:
        return self.USE_NATIVE_DTYPE

    def get_result_buffers(self) -> Any:
        return {"intensity": self.buffer("nav", dtype=self.meta.input_dtype)}

    def process_partition(self, partition: Any) -> None:
        """Of all frames at once."""
        self.results.intensity[...] = partition[:, self.params.y, self.params.x]


class PointAnalysis(Analysis):
    """One element of each frame."""

    def __init__(self, dataset: DataSet, x: Any = None, y: Any = None) -> None:
        height, width = _plane(dataset)
        cy, cx = int(_middle(y, height, "y")), int(_middle(x, width, "x"))
        if not (0 <= cy < height and 0 <= cx < width):
            raise IndexError(f"no element is at x {cx}, y {cy}: the frames have the shape {(height, width)}")
        super().__init__(dataset, {"cx": cx, "cy": cy})

    def udf(self) -> UDF:
        return PointUDF(y=self.parameters["cy"], x=self.parameters["cx"])

    def results(self, found: Results) -> list[AnalysisResult]:
        return _value(_with_nan(found.intensity), "the element at the point")


def _plane(dataset: DataSet) -> tuple[int, int]:
    sig = tuple(dataset.shape.sig)
    if len(sig) != 2:
        raise ValueError(
            f"the frames of this analysis have two axes: those of the data set have the shape {sig}"
        )
    return sig[0], sig[1]


def _middle(value: Any, size: int, name: str) -> Any:
    if value is None:
        return size / 2
    if not math.isfinite(value):
        raise ValueError(f"{name} is a place in the frame, not {value}")
    return value


def _check_radii(**radii: Any) -> None:
    for name, value in radii.items():
        if value is not None and not value >= 0:
            raise ValueError(f"{name} is a radius, at least 0: not {value}")


# The centre of mass


class ComAnalysis(Analysis):
    """How far the centre of mass of each frame is from a point."""

    def __init__(
        self,
        dataset: DataSet,
        cx: Any = None,
        cy: Any = None,
        mask_radius: float | None = None,
        flip_y: bool = False,
        mask_radius_inner: float | None = None,
        scan_rotation: float = 0.0,
    ) -> None:
        height, width = _plane(dataset)
        if mask_radius_inner is not None and mask_radius is None:
            raise ValueError("mask_radius_inner needs mask_radius as well: between them is the ring")
        cy, cx = _middle(cy, height, "cy"), _middle(cx, width, "cx")
        _check_radii(mask_radius=mask_radius, mask_radius_inner=mask_radius_inner)
        given = {"cx": cx, "cy": cy, "r": mask_radius, "ri": mask_radius_inner}
        super().__init__(dataset, {**given, "flip_y": flip_y, "scan_rotation": scan_rotation})
        kind = "i4" if dataset.dtype.kind in "bui" else "f8" if dataset.dtype.char in "dDgG" else "f4"
        if mask_radius is None:
            chosen: Any = numpy.ones((height, width), bool)
        elif mask_radius_inner is None:
            chosen = masks.circular(cy, cx, (height, width), mask_radius)
        else:
            chosen = masks.ring(cy, cx, (height, width), mask_radius, mask_radius_inner)
        y, x = numpy.mgrid[:height, :width]
        stack: list[Any] = [(each * chosen).astype(kind) for each in (1, y, x)]
        self._stack = masks.Stack(stack, dataset.dtype)

    def udf(self) -> UDF:
        return MasksUDF(self._stack, 3, wide=True)

    def results(self, found: Results) -> list[AnalysisResult]:
        data = _with_nan(found.intensity)
        if data.dtype.kind in "iu":
            data = data.astype("float64")
        total, in_y, in_x = data[..., 0], data[..., 1], data[..., 2]
        y = _ratio(in_y, total, self.parameters["cy"])
        x = _ratio(in_x, total, self.parameters["cx"])
        y, x = self._rotated(y, x)
        if data.dtype.kind == "c":
            parts = {"x_real": x.real, "y_real": y.real, "x_imag": x.imag, "y_imag": y.imag}
            return [AnalysisResult(key, each, key, "the centre of mass") for key, each in parts.items()]
        made = {"field": (x, y), "magnitude": numpy.hypot(x, y)}
        if y.ndim == 2 and min(y.shape) > 1:
            made["divergence"] = numpy.gradient(y, axis=0) + numpy.gradient(x, axis=1)
            made["curl"] = numpy.gradient(y, axis=1) - numpy.gradient(x, axis=0)
        made |= {"x": x, "y": y}
        return [AnalysisResult(key, each, key, "the centre of mass") for key, each in made.items()]

    def _rotated(self, y: Any, x: Any) -> tuple[Any, Any]:
        """In the coordinates of the scan: y turned over, then rotated clockwise."""
        if self.parameters["flip_y"]:
            y = -y
        angle = numpy.deg2rad(self.parameters["scan_rotation"])
        if angle == 0:
            return y, x
        sine, cosine = numpy.sin(angle), numpy.cos(angle)
        return cosine * y + sine * x, cosine * x - sine * y


def _ratio(part: Any, total: Any, reference: float) -> Any:
    """The centre minus the reference; nothing where nothing was counted."""
    made = numpy.full(numpy.shape(part), reference, part.dtype)
    numpy.divide(part, total, out=made, where=total != 0)
    return made - reference
