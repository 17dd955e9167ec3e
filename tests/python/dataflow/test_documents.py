"""The programs of Twister2's document, their text as it stands: submitted as file and as archive, and in a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

import erl
from erl.dataflow import Environment, TLink, TSet

HERE = Path(__file__).parent
KMEANS = (HERE / "kmeans.txt").read_text()
INTEGERS = (HERE / "integers.txt").read_text()
PARTITIONS = 10

# At the document's sizes it takes a quarter of a minute: `make bench-dataflow` runs those.
SMALL = KMEANS.replace("PointSource(100, 10000)", "PointSource(5, 200)")
SMALL = SMALL.replace("PointSource(100, 200)", "PointSource(5, 7)").replace("n_clusters=200", "n_clusters=7")
SMALL = SMALL.replace('"cpu": 4, "ram": 4096', '"cpu": 2, "ram": 2048')


def submitted(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "erl", "submit", "standalone", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def sequential(points: list[Any], centers: list[Any], clusters: int) -> Any:
    """What the document's program computes, by scikit-learn alone, one partition after the other."""
    import numpy
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-not-found]

    with threadpool_limits(1):
        for _ in range(10):
            found = [
                KMeans(init=init, n_clusters=clusters, n_init=1).fit(each).cluster_centers_
                for each, init in zip(points, centers, strict=True)
            ]
            centers = [numpy.divide(sum(found[1:], found[0]), PARTITIONS)] * PARTITIONS
    return centers[0]


def first_items(of: TSet | TLink) -> list[Any]:
    return [each.first() for each in of.get_data().get_partitions()]


def test_programs_in_the_tests_are_the_documents() -> None:
    """Where the document is at hand: its text is what is run here."""
    seeds = [each / "shared" / "seeds" for each in HERE.parents]
    documents = [path.read_text() for each in seeds if each.is_dir() for path in each.glob("000_*")]
    if not documents:
        pytest.skip("the document is not beside this checkout")
    assert KMEANS in documents[0]
    for block in INTEGERS.split("\n\n\n")[1:]:  # the document names its environment's module further down
        assert block.strip() in documents[0]


def test_integers_of_the_document_as_a_file(tmp_path: Path) -> None:
    script = tmp_path / "integers.py"
    script.write_text(INTEGERS + "\nimport sys\nprint(sys.argv[1:])\nsource.for_each(print)\n")
    done = submitted("python", script, "integers.py", "arg1", "arg2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['arg1', 'arg2']", *map(str, [*range(1, 11)] * 4)]
    assert "erl submit: twister2 is the one of erl, on the node at" in done.stderr


def test_program_of_many_files_as_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "your_zip.zip"
    source = INTEGERS[INTEGERS.index("class IntegerSource") : INTEGERS.index("source = env")]
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(
            "sources/integers.py", f"from twister2.tset.fn.SourceFunc import SourceFunc\n\n{source}"
        )
        opened.writestr("sources/__init__.py", "")
        opened.writestr("steps.py", "import base\n\n\ndef scaled(x, ctx):\n    return base.times(x, 10)\n")
        opened.writestr("base.py", "def times(x, y):\n    return x * y\n")
        opened.writestr(
            "entry_point.py",
            "import sys\n\n"
            "from sources.integers import IntegerSource\n"
            "from steps import scaled\n"
            "from twister2.Twister2Environment import Twister2Environment\n\n"
            'env = Twister2Environment(resources=[{"cpu": 1, "ram": 1024, "instances": 2}])\n'
            "source = env.create_source(IntegerSource(int(sys.argv[1])), 2)\n"
            "source.direct().map(scaled).reduce(lambda a, b: a + b).for_each(print)\n"
            "print(sys.argv[1:])\n",
        )
    done = submitted("python_zip", archive, "entry_point.py", "4", "arg2")
    assert (done.returncode, done.stdout) == (0, "200\n['4', 'arg2']\n"), done.stderr


def test_kmeans_of_the_document_submitted(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    script = tmp_path / "kmeans.py"
    script.write_text(SMALL)
    done = submitted("python", script, "kmeans.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[[")
    printed = done.stdout.split("]]\n")
    assert printed.pop() == ""
    assert (len(printed), len(set(printed))) == (PARTITIONS, 1)


class Watched:
    """Runs the document's text here, and knows the sets that it makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sources: list[TSet] = []
        self.iteration = 0
        self.at: dict[int, Any] = {}
        create, cache = Environment.create_source, TSet.cache

        def created(env: Environment, source: Any, parallelism: int = 0) -> TSet:
            self.sources.append(create(env, source, parallelism))
            return self.sources[-1]

        def cached(of: TSet) -> TSet:
            if len(self.sources) == 2 and of not in self.sources:
                self.iteration += 1
                self.at.get(self.iteration, lambda: None)()
            kept: TSet = cache(of)
            return kept

        monkeypatch.setattr(Environment, "create_source", created)
        monkeypatch.setattr(TSet, "cache", cached)
        self.names: dict[str, Any] = {"__name__": "document"}

    def run(self) -> None:
        exec(compile(SMALL, "kmeans.txt", "exec"), self.names)


@pytest.mark.usefixtures("node")
def test_kmeans_of_the_document_in_a_program_with_a_worker_killed(
    node: erl.Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("sklearn")
    monkeypatch.setattr("erl.link.nodes.default", lambda: node)
    watched = Watched(monkeypatch)
    killed: list[int] = []

    def kill() -> None:
        data = watched.names["data"]
        os_pids = first_items(data.map(lambda points: os.getpid()))
        killed.append(os_pids[0])
        os.kill(os_pids[0], signal.SIGKILL)

    watched.at[5] = kill
    watched.run()
    assert watched.iteration == 10
    assert len(killed) == 1
    eventually(lambda: not Path(f"/proc/{killed[0]}").exists(), 60)
    names = watched.names
    env = names["env"]
    try:
        printed = capsys.readouterr().out.split("]]\n")
        assert (len(printed), len(set(printed[:-1]))) == (PARTITIONS + 1, 1)
        found = first_items(names["centers"])
        assert all(numpy.array_equal(each, found[0]) for each in found)
        points, centers = (first_items(each) for each in watched.sources)
        assert numpy.abs(found[0] - sequential(points, centers, 7)).max() < 1e-12
        # The same loop again, with nobody killed: bit by bit.
        kept = watched.sources[1].cache()
        for _ in range(10):
            names["mapped"].add_input("centroids", kept)
            kept = names["reduced"].cache()
        assert kept.get_data().get_partition(0).first().tobytes() == found[0].tobytes()
    finally:
        env.close()


def test_example_of_kmeans_makes_its_picture(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (scripts/setup arrays)")
    script = HERE.parents[2] / "examples" / "python" / "kmeans.py"
    command = [sys.executable, str(script), str(tmp_path / "kmeans.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    picture = (tmp_path / "kmeans.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture) > 20_000
