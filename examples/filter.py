"""Edges of an image, band by band: what the workers of `examples/filter` do."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

import erl

MARGIN = 3
"""Rows beyond a band that its edges depend on: two for the blur, one for the gradient."""

_BLUR = (1.0, 4.0, 6.0, 4.0, 1.0)
_BLOCK_ROWS = 64


def rings(size: int) -> Any:
    """A test image of `size` times `size` grey values in shared memory: rings that get narrower, and some noise."""
    image = erl.shared.zeros((size, size), "<f4")
    axis = np.linspace(-1, 1, size, dtype="<f4")
    noise = np.random.default_rng(1)
    for row, y in enumerate(axis):
        image.value[row] = 0.5 + 0.4 * np.cos(60 * (axis * axis + y * y)) + noise.normal(0, 0.02, size)
    return image


def write_rows(image: Any, edges: Any, first: int, last: int) -> None:
    """Write the edges of the rows from `first` up to `last` to their place in `edges`; others write elsewhere there."""
    for start in range(first, last, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, last)
        edges[start:stop] = _edges(image, start, stop)


def rows(part: Any, before: int, count: int) -> Any:
    """The edges of `count` rows, as an array: of an image of which these rows and those around them are here."""
    found = [
        _edges(part, start, min(start + _BLOCK_ROWS, before + count))
        for start in range(before, before + count, _BLOCK_ROWS)
    ]
    return np.concatenate(found)


def _edges(image: Any, first: int, last: int) -> Any:
    """How steep the image is in these rows, after a blur; beyond its border it goes on as it ends."""
    above, below = max(0, MARGIN - first), max(0, last + MARGIN - len(image))
    near = image[max(0, first - MARGIN) : last + MARGIN]
    near = np.pad(near, ((above, below), (MARGIN, MARGIN)), mode="edge")
    blurred = _along(_along(near, _BLUR, 0), _BLUR, 1) / np.float32(256)
    across = _along(_along(blurred, (1.0, 2.0, 1.0), 0), (-1.0, 0.0, 1.0), 1)
    down = _along(_along(blurred, (-1.0, 0.0, 1.0), 0), (1.0, 2.0, 1.0), 1)
    return np.hypot(across, down)


def _along(values: Any, weights: tuple[float, ...], axis: int) -> Any:
    """A weighted sum of neighbours."""
    size = values.shape[axis] - len(weights) + 1
    total = 0.0
    for place, weight in enumerate(weights):
        if weight:
            part = values[place : place + size] if axis == 0 else values[:, place : place + size]
            total = total + np.float32(weight) * part
    return total


def save(path: str, image: Any) -> None:
    """Write grey values as a PNG file, the highest one white."""
    grey = (image * np.float32(255 / max(float(image.max()), 1e-9))).astype("u1")
    height, width = grey.shape
    lines = np.zeros((height, width + 1), "u1")  # before each line the kind of its compression: none
    lines[:, 1:] = grey
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, content in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(lines.tobytes(), 1)),
            (b"IEND", b""),
        ):
            file.write(struct.pack(">I", len(content)) + name + content)
            file.write(struct.pack(">I", zlib.crc32(name + content)))
