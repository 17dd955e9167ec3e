"""Virtual detectors: what a detector of another shape would have seen of a scan that was recorded in full.

    python examples/python/virtual_detectors.py [pool|inline|threads|dask [PICTURE.png]]

The scan is made here: 48 x 48 positions, at each of them a picture of 64 x 64 elements.
Wants numpy; matplotlib for the picture.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from erl.compute import Context

SCAN, DETECTOR = (48, 48), (64, 64)
ROI_ROWS = 8


def scan():
    """Frames as an electron microscope records them: a bright disk, moved by fields, and what is scattered further."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in SCAN), indexing="ij")
    atoms = np.cos(9 * x) ** 2 * np.cos(9 * y) ** 2 * np.exp(-(x**2) - y**2)
    charge = np.exp(-((x - 0.3) ** 2 + (y + 0.2) ** 2) / 0.05)
    move_y, move_x = 5 * np.gradient(charge, axis=0), 5 * np.gradient(charge, axis=1)
    rows, columns = np.mgrid[: DETECTOR[0], : DETECTOR[1]]
    made = np.empty((*SCAN, *DETECTOR), np.float32)
    for place in np.ndindex(SCAN):
        distance = np.hypot(rows - 32 - move_y[place], columns - 32 - move_x[place])
        made[place] = 100 / (1 + np.exp(2 * (distance - 10))) + atoms[place] * 20 * np.exp(
            -(((distance - 22) / 5) ** 2)
        )
    return np.round(made).astype(np.uint16)


def main(executor="pool", picture=None):
    with Context.make_with(executor) as ctx, tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "scan.raw")
        scan().tofile(path)
        dataset = ctx.load("raw", path=path, dtype="uint16", nav_shape=SCAN, sig_shape=DETECTOR)
        print(dataset)

        total = ctx.run(ctx.create_sum_analysis(dataset))
        bright = ctx.run(ctx.create_disk_analysis(dataset, cx=32, cy=32, r=12))
        dark = ctx.run(ctx.create_ring_analysis(dataset, cx=32, cy=32, ri=16, ro=30))
        moved = ctx.run(ctx.create_com_analysis(dataset, cx=32, cy=32, mask_radius=14))
        print(
            f"counted: {total.intensity.raw_data.sum()}, of them in the disk: {bright.intensity.raw_data.sum()}"
        )
        print(f"in the ring, from {dark.intensity.raw_data.min()} to {dark.intensity.raw_data.max()}")
        print(f"moved by {moved.magnitude.raw_data.max():.3f} elements at most")

        # The upper rows of the scan alone; elsewhere it is NaN.
        roi = np.zeros(SCAN, bool)
        roi[:ROI_ROWS] = True
        part = ctx.run(ctx.create_disk_analysis(dataset, cx=32, cy=32, r=12), roi=roi).intensity.raw_data
        print(f"without the lower rows: {int(np.nansum(part))}, {np.isnan(part).sum()} positions left out")

        if picture is not None:
            from erl.compute import AnalysisResultSet

            for each, title in ((bright[0], "a disk"), (dark[0], "a ring"), (moved.field, "centre of mass")):
                each.title = title
            total[0].title = "all frames"
            shown = AnalysisResultSet([total[0], bright[0], dark[0], moved.field])
            shown.plot(columns=4, dpi=64).savefig(picture)
            print("the picture is", picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
