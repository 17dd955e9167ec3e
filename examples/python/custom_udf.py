"""A function of one's own over each frame: where it is brightest, how sharply; and the brightest of all frames.

    python examples/python/custom_udf.py [pool|inline|threads|dask [PICTURE.png]]

Wants numpy; matplotlib for the picture.
"""

import sys

import numpy as np

from erl.compute import UDF, Context

SCAN, FRAME = (40, 60), (32, 32)


class BrightestUDF(UDF):
    """With `width` elements around the brightest one, its place to a fraction of an element."""

    def get_result_buffers(self):
        return {
            "place": self.buffer(kind="nav", extra_shape=(2,), dtype="float64"),
            "contrast": self.buffer(kind="nav", dtype="float64"),
            "brightest": self.buffer(kind="sig", dtype="float32"),
            "faint": self.buffer(kind="single", dtype="int64"),
        }

    def process_frame(self, frame):
        width = self.params.width
        row, column = np.unravel_index(frame.argmax(), frame.shape)
        top, left = max(0, row - width), max(0, column - width)
        part = frame[top : row + width + 1, left : column + width + 1].astype("float64")
        rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
        self.results.place[:] = (rows * part).sum() / part.sum(), (columns * part).sum() / part.sum()
        self.results.contrast[:] = frame.max() / frame.mean()
        self.results.brightest[:] = np.maximum(self.results.brightest, frame)
        self.results.faint[:] += self.results.contrast[0] < self.params.least

    def merge(self, dest, src):
        dest.place[:] = src.place
        dest.contrast[:] = src.contrast
        dest.brightest[:] = np.maximum(dest.brightest, src.brightest)
        dest.faint[:] += src.faint


def spots():
    """In each frame a spot, which goes round with the position in the scan, fainter towards the right."""
    rows, columns = np.mgrid[: FRAME[0], : FRAME[1]]
    made = np.empty((*SCAN, *FRAME), np.float32)
    for y, x in np.ndindex(SCAN):
        angle = 2 * np.pi * (y / SCAN[0] + x / SCAN[1])
        distance = (rows - 16 - 8 * np.sin(angle)) ** 2 + (columns - 16 - 8 * np.cos(angle)) ** 2
        made[y, x] = 1 + (12 - 11 * x / SCAN[1]) * np.exp(-distance / 8)
    return made


def main(executor="pool", picture=None):
    with Context.make_with(executor) as ctx:
        dataset = ctx.load("memory", data=spots(), sig_dims=2)
        found = ctx.run_udf(dataset, BrightestUDF(width=4, least=4.0))
        place = found["place"].data
        print(f"places: {place.shape}, in the first frame at {place[0, 0].round(3).tolist()}")
        print(f"contrast from {found.contrast.data.min():.3f} to {found.contrast.data.max():.3f}")
        print(
            f"{found.faint.data[0]} frames are faint; the brightest element of all: {found.brightest.data.max():.3f}"
        )

        # What needs one number for each frame only is a function.
        print(f"the median of the last frame: {ctx.map(dataset, np.median).data[-1, -1]:.3f}")

        # An error is the class itself, and says where it was raised.
        try:
            ctx.map(dataset, lambda frame: 1 / int(frame.max() - 1.8))
        except ZeroDivisionError as error:
            print(error)

        if picture is not None:
            from erl.compute import AnalysisResult, AnalysisResultSet

            AnalysisResultSet(
                [
                    AnalysisResult(
                        "place", (place[..., 1] - 16, place[..., 0] - 16), "where it is brightest", ""
                    ),
                    AnalysisResult("contrast", found.contrast.data, "how sharply", ""),
                    AnalysisResult("brightest", found.brightest.data, "brightest of all frames", ""),
                ]
            ).plot(dpi=64).savefig(picture)
            print("the picture is", picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
