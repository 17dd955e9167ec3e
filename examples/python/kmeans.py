"""KMeans as Twister2's document has it, of points that can be seen, and a picture of them.

    python examples/python/kmeans.py [PICTURE.png]

Wants scikit-learn, and matplotlib for the picture.
"""

import sys

import erl  # noqa: F401  (from here on `twister2` is found, where no other one is installed)

# isort: split
import numpy as np
from twister2.tset.fn.SourceFunc import SourceFunc
from twister2.TSetContext import TSetContext
from twister2.Twister2Environment import Twister2Environment

HOMES = np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 4.0], [5.0, 5.0]])
PARTITIONS, POINTS, ITERATIONS = 4, 300, 5


class PointSource(SourceFunc):
    """One array of points around their homes."""

    def __init__(self, count):
        self.read = True
        self.count = count

    def has_next(self):
        return self.read

    def next(self):
        self.read = False
        return HOMES[np.arange(self.count) % len(HOMES)] + np.random.randn(self.count, 2)


def apply_kmeans(points, ctx: TSetContext):
    from sklearn.cluster import KMeans

    centers = ctx.get_input("centroids").get_partition(ctx.get_index()).first()
    return KMeans(init=centers, n_clusters=len(centers), n_init=1).fit(points).cluster_centers_


def picture(points, path, file):
    """Each point in the color of the center that it is next to, and the way that the centers took."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    centers = path[-1]
    nearest = np.argmin(((points[:, None] - centers) ** 2).sum(axis=2), axis=1)
    figure, axes = pyplot.subplots(figsize=(6, 6), layout="constrained")
    axes.scatter(*points.T, c=nearest, cmap="Set2", s=8)
    for way in np.array(path).swapaxes(0, 1):
        axes.plot(*way.T, color="black", linewidth=1)
        axes.scatter(*way[:1].T, color="white", edgecolor="black", s=40, zorder=3)
    axes.scatter(*centers.T, color="black", marker="X", s=120, zorder=4)
    axes.set(title=f"{len(points)} points in {PARTITIONS} partitions, {len(centers)} centers", aspect="equal")
    figure.savefig(file, dpi=100)


def main():
    with Twister2Environment(resources=[{"cpu": 2, "ram": 2048, "instances": 1}], seed=16) as env:
        data = env.create_source(PointSource(POINTS), PARTITIONS).cache()
        first = np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 2.0], [2.0, 2.0]])
        centers = env.parallelize_list([first] * PARTITIONS, PARTITIONS).cache()

        mapped = data.direct().map(apply_kmeans)
        reduced = mapped.all_reduce(lambda c1, c2: c1 + c2).map(lambda total: total / PARTITIONS)

        path = [first]
        for _ in range(ITERATIONS):
            mapped.add_input("centroids", centers)
            centers = reduced.cache()
            path.append(centers.get_data().get_partition(0).first())

        same = [part.first().tobytes() for part in centers.get_data().get_partitions()]
        print(f"{len(same)} partitions, {len(set(same))} array")
        for home in HOMES:
            apart = np.linalg.norm(path[-1] - home, axis=1).min()
            print(f"{home}: a center is", "next to it" if apart < 0.2 else f"{apart:.1f} away")
        if sys.argv[1:]:
            points = np.concatenate([part.first() for part in data.get_data().get_partitions()])
            picture(points, path, sys.argv[1])


if __name__ == "__main__":
    main()
