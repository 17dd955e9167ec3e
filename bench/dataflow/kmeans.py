"""KMeans of Twister2's document at full size, by one of those that can do it: seconds, as a line of JSON.

    python bench/dataflow/kmeans.py SIDE DIRECTORY

SIDE is `ours` (the document's text, with two workers), `ours as it stands` (with its four), `ours, one killed` (in the
fifth iteration; the same loop without must give the same, bit by bit), `joblib`, `dask` or `sequential`. Ours comes
first: it leaves its points in DIRECTORY for the others, and each leaves what it has found.
Workers are there before the clock starts; what they have to import is imported in its time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

TEXT = (Path(__file__).parents[2] / "tests" / "python" / "dataflow" / "kmeans.txt").read_text()
WORKERS, PARTITIONS, ITERATIONS, CLUSTERS = 2, 10, 10, 200


def fit(points: Any, centers: Any) -> Any:
    from sklearn.cluster import KMeans

    return KMeans(init=centers, n_clusters=CLUSTERS, n_init=1).fit(points).cluster_centers_


def averaged(found: list[Any]) -> Any:
    return np.divide(sum(found[1:], found[0]), PARTITIONS)


def nothing(*_: Any) -> None:
    pass


def firsts(of: Any) -> list[Any]:
    return [each.first() for each in of.get_data().get_partitions()]


def ours(directory: Path, workers: int, is_killed: bool) -> float:
    """The document's text; its environment is made before the clock starts."""
    import erl  # noqa: F401  (finds twister2)
    from erl.dataflow import Environment, TSet

    head, _, rest = TEXT.replace('"cpu": 4', f'"cpu": {workers}').partition("class PointSource")
    names: dict[str, Any] = {"__name__": "document"}
    exec(head, names)
    env = names["env"]
    env.parallelize_list([0] * 8, 8).for_each(nothing)
    sources: list[Any] = []
    create = Environment.create_source

    def created(*args: Any) -> Any:
        sources.append(create(*args))
        return sources[-1]

    Environment.create_source = created  # type: ignore[method-assign]
    if is_killed:
        cache, evaluated = TSet.cache, [0]

        def cached(of: Any) -> Any:
            evaluated[0] += 1
            if evaluated[0] == 2 + 5:  # after points and centers
                os_pid = firsts(names["data"].map(lambda points: os.getpid()))[0]
                threading.Timer(0.5, os.kill, (os_pid, signal.SIGKILL)).start()
            return cache(of)

        TSet.cache = cached  # type: ignore[method-assign]
    printed = io.StringIO()
    begun = time.perf_counter()
    with contextlib.redirect_stdout(printed):
        exec("class PointSource" + rest, names)
    seconds = time.perf_counter() - begun
    arrays = printed.getvalue().split("]]\n")[:-1]
    if (len(arrays), len(set(arrays))) != (PARTITIONS, 1):
        raise SystemExit(
            f"{len(arrays)} arrays, of which {len(set(arrays))} differ, in place of {PARTITIONS} equal ones"
        )
    if is_killed:
        found, centers = firsts(names["centers"])[0], sources[1].cache()
        for _ in range(ITERATIONS):
            names["mapped"].add_input("centroids", centers)
            centers = names["reduced"].cache()
        if firsts(centers)[0].tobytes() != found.tobytes():
            raise SystemExit("with a worker killed in the fifth iteration the centers are others")
        print(env.report, file=sys.stderr)
    if not (directory / "points.npy").exists():
        for name, source in zip(("points", "first"), sources, strict=True):
            np.save(directory / f"{name}.npy", firsts(source))
        np.save(directory / "ours.npy", firsts(names["centers"])[0])
    env.close()
    return seconds


def joblib(points: Any, centers: list[Any]) -> tuple[float, Any]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=WORKERS) as parallel:
        parallel(delayed(nothing)() for _ in range(8))
        begun = time.perf_counter()
        for _ in range(ITERATIONS):
            found = parallel(delayed(fit)(*each) for each in zip(points, centers, strict=True))
            centers = [averaged(found)] * PARTITIONS
        return time.perf_counter() - begun, centers[0]


def dask(points: Any, centers: list[Any]) -> tuple[float, Any]:
    """Points stay with its workers, too, and so do centers until the end."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(WORKERS, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(nothing, range(8)))
        begun = time.perf_counter()
        kept = client.scatter(list(points))
        current: list[Any] = client.scatter(centers)
        for _ in range(ITERATIONS):
            found = client.map(fit, kept, current, pure=False)
            current = [client.submit(averaged, found)] * PARTITIONS
        result = current[0].result()
        return time.perf_counter() - begun, result


def sequential(points: Any, centers: list[Any]) -> tuple[float, Any]:
    from threadpoolctl import threadpool_limits

    begun = time.perf_counter()
    with threadpool_limits(1):
        for _ in range(ITERATIONS):
            centers = [averaged([fit(*each) for each in zip(points, centers, strict=True)])] * PARTITIONS
    return time.perf_counter() - begun, centers[0]


def main() -> None:
    side, directory = sys.argv[1], Path(sys.argv[2])
    if side.startswith("ours"):
        seconds = ours(directory, 4 if side == "ours as it stands" else WORKERS, side == "ours, one killed")
    else:
        points, first = np.load(directory / "points.npy"), list(np.load(directory / "first.npy"))
        by = {"joblib": joblib, "dask": dask, "sequential": sequential}[side]
        try:
            seconds, found = by(points, first)
        except ImportError as error:
            print(f"{side} is not installed: {error}", file=sys.stderr)
            sys.exit(3)
        np.save(directory / f"{side}.npy", found)
    print(json.dumps({"work": "KMeans of the document", "side": side, "unit": "s", "value": seconds}))


if __name__ == "__main__":
    main()
