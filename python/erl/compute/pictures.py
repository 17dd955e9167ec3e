"""Pictures of results by matplotlib, which is imported with the first one. They need neither a display nor pyplot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from collections.abc import Sequence

_INCHES = 3.2


def figure(results: Sequence[Any], *, columns: int = 3, cmap: str = "viridis", **kwargs: Any) -> Any:
    """A figure with a picture of each result; what else is given, `dpi` for example, is the figure's."""
    make = _matplotlib()[0]
    columns = max(1, min(columns, len(results)))
    rows = -(-len(results) // columns)
    kwargs = {"figsize": (_INCHES * columns, _INCHES * rows), "layout": "constrained", **kwargs}
    made = make(**kwargs)
    for number, each in enumerate(results):
        axes = made.add_subplot(rows, columns, number + 1)
        axes.set_title(each.title)
        _draw(made, axes, each, cmap)
    return made


def _matplotlib() -> tuple[Any, Any]:
    """The class of figures, and the module of colours. Raises `ModuleNotFoundError`."""
    try:
        from matplotlib import colors
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError(
            "pictures are made by matplotlib, which is not installed here: pip install matplotlib",
            name="matplotlib",
        ) from None
    return Figure, colors


def _draw(made: Any, axes: Any, result: Any, cmap: str) -> None:
    if isinstance(result.raw_data, tuple):  # a field of vectors
        x, y = (_flat(each) for each in result.raw_data)
        if x.ndim == 2:
            axes.imshow(_wheel(x, y))
        else:
            axes.plot(x, label="x")
            axes.plot(y, label="y")
            axes.legend()
        return
    data = _flat(numpy.asarray(result.raw_data))
    if data.dtype.kind == "c":
        if data.ndim == 2:
            axes.imshow(_wheel(data.real, data.imag))
            return
        data = numpy.abs(data)
    if data.dtype.kind == "b":
        data = data.astype("u1")
    positive = data[numpy.isfinite(data) & (data > 0)]
    log = result.log and positive.size > 0 and positive.max() > positive.min()
    if data.ndim < 2:
        axes.plot(numpy.atleast_1d(data), marker="." if data.size < 50 else None)
        if log:
            axes.set_yscale("log")
        return
    colors = _matplotlib()[1]
    scale = colors.LogNorm(positive.min(), positive.max()) if log else None
    image = axes.imshow(numpy.ma.masked_less_equal(data, 0) if log else data, cmap=cmap, norm=scale)
    made.colorbar(image, ax=axes, shrink=0.85 * min(1, data.shape[0] / data.shape[1]))


def _flat(data: Any) -> Any:
    """At most two axes: those before are stacked one below the other."""
    data = numpy.asarray(data)
    return data.reshape(-1, data.shape[-1]) if data.ndim > 2 else data


def _wheel(x: Any, y: Any) -> Any:
    """Vectors as colours: the direction is the hue, the length the brightness."""
    length = numpy.hypot(x, y)
    length = numpy.where(numpy.isfinite(length), length, 0)
    hue = numpy.nan_to_num(numpy.arctan2(y, x)) / (2 * numpy.pi) % 1
    largest = length.max(initial=0) or 1
    return _matplotlib()[1].hsv_to_rgb(numpy.stack([hue, numpy.ones_like(hue), length / largest], axis=-1))
