"""Short runs of a function a second, from Python, each change synced; and a list of 10,000 entities.

python bench/runs/functions.py [DIRECTORY], a directory on the disk that is to be measured
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import erl
from erl import functions
from erl.functions import keys, nodes

RUNS, THREADS, ENTITIES = 3_000, 50, 10_000


def shown(name: str, number: float) -> None:
    print(f"{name:<40}{number:8.0f}", flush=True)


def once(function: functions.Function, number: int) -> None:
    assert function.run(parameters={"x": number}, wait=True).result("output_0") == number * number


def put(number: int) -> None:
    parts = ("demo", "artifact", f"a{number}", keys.new_id())
    said = {
        **dict(zip(("project", "type", "name", "id"), parts, strict=True)),
        "kind": "artifact",
        "metadata": {"description": None, "labels": None},
        "spec": {"file_name": "tea.txt", "size": 3},
    }
    nodes.call("py_entity", "put", [*(part.encode() for part in parts), json.dumps(said).encode(), b""])


def main(directory: str) -> None:
    with erl.start({"default": {"size": 2}}, state_dir=f"{directory}/state") as node:
        project = functions.get_or_create_project("demo")
        function = project.new_function(name="square", code="def square(x): return x * x", handler="square")
        once(function, 2)
        assert node.is_up
        with ThreadPoolExecutor(THREADS) as threads:
            start = time.perf_counter()
            list(threads.map(lambda number: once(function, number), range(RUNS)))
            shown(f"function.run(wait=True)/s, {THREADS} threads", RUNS / (time.perf_counter() - start))
            start = time.perf_counter()
            runs = [function.run(parameters={"x": number}) for number in range(RUNS)]
            for run in runs:
                run.wait()
            shown("function.run/s, begun in a row", RUNS / (time.perf_counter() - start))
            list(threads.map(put, range(ENTITIES)))
        took = []
        for _ in range(5):
            start = time.perf_counter()
            assert len(functions.list_artifacts("demo")) == ENTITIES
            took.append(time.perf_counter() - start)
        shown(f"list of {ENTITIES:,} entities, ms", min(took) * 1000)


if __name__ == "__main__":
    place = tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None)
    try:
        main(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
