"""What pages show of Python programs is what happens: prompts (`pycon` blocks) are run, and so are the examples."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
WANTED = {
    "grid_search": ("sklearn", "joblib", "tqdm"),
    "virtual_detectors": ("numpy",),
    "custom_udf": ("numpy",),
    "arrays.md": ("numpy",),
    "kmeans": ("sklearn",),
    "dataflow.md": ("sklearn",),
    "LiberTEM": ("numpy",),
}


def blocks(page: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == kind]


def skip_without(name: str) -> None:
    """Say so where what a page or an example wants is not installed."""
    for module in WANTED.get(name, ()):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: scripts/setup programs")


WITH_PROMPTS = [page for page in PAGES if blocks(page, "pycon")]


def run_prompts(text: str, name: str) -> tuple[int, str]:
    """How many prompts there are, and what differs."""
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, name, name, 0)
    runner = doctest.DocTestRunner(verbose=False, optionflags=OPTIONS)
    differences: list[str] = []
    runner.run(test, out=differences.append)
    return len(test.examples), "".join(differences)


@pytest.mark.parametrize("page", WITH_PROMPTS, ids=lambda page: page.name)
def test_the_prompts_of_a_page_show_what_happens(page: Path) -> None:
    import erl

    skip_without(page.name)
    count, differences = run_prompts("\n".join(blocks(page, "pycon")), page.name)
    try:
        assert not differences, differences
        assert count >= 3
    finally:
        erl.start({"default": {"size": 2}}).stop()  # where it was not stopped because of a difference


def test_there_is_a_page_with_prompts() -> None:
    assert ROOT / "docs" / "python-programs.md" in WITH_PROMPTS


def test_a_result_that_differs_is_told() -> None:
    assert run_prompts(">>> 1 + 1\n2\n", "page") == (1, "")
    assert run_prompts(">>> 1 + 1\n3\n", "page")[1]
    assert run_prompts(">>> int('x')\nTraceback (most recent call last):\n    ...\nTypeError: no\n", "page")[
        1
    ]


TABLES = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.M | re.S)
ROWS = re.compile(r"^\|.*\| `([^`]+)` \|$", re.M)


def right_columns() -> list[tuple[str, list[str]]]:
    """Of `coming-from.md`: each package that has a table of Python's, and its right column."""
    page = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    return [(title, ROWS.findall(text)) for title, text in TABLES.findall(page) if "| Python here |" in text]


def test_there_is_a_table_for_each_of_the_python_packages() -> None:
    assert [title for title, _ in right_columns()] == ["Twister2", "LiberTEM", "DigitalHub", "Celery", "dask"]
    assert all(len(rows) >= 7 for _, rows in right_columns())


@pytest.mark.parametrize(
    ("title", "rows"), right_columns(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_right_column_of_a_table_runs(title: str, rows: list[str]) -> None:
    import erl

    skip_without(title)
    names: dict[str, object] = {"__name__": "__main__"}
    try:
        for row in rows:
            exec(row, names)
    finally:
        for kept in list(names.values()):
            if isinstance(kept, erl.Node):
                kept.stop()
            elif isinstance(kept, tempfile.TemporaryDirectory):
                kept.cleanup()
        erl.start({"default": {"size": 2}}).stop()  # the default one, which some have started


def shown_runs() -> list[tuple[str, str]]:
    """Each program that a page runs, and what it shows."""
    runs = []
    for page in PAGES:
        for block in blocks(page, "console"):
            found = re.fullmatch(r"\$ python examples/python/(\w+)\.py\n(.*)", block, re.S)
            if found:
                runs.append((found[1], found[2]))
    return runs


def test_each_example_is_shown() -> None:
    programs = {path.stem for path in (ROOT / "examples" / "python").glob("*.py")}
    assert programs == {name for name, _ in shown_runs()}


@pytest.mark.parametrize(
    ("name", "shown"), shown_runs(), ids=lambda value: value if "\n" not in value else ""
)
def test_an_example_prints_what_is_shown(name: str, shown: str) -> None:
    skip_without(name)
    path = ROOT / "examples" / "python" / f"{name}.py"
    run = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert doctest.OutputChecker().check_output(shown, run.stdout, OPTIONS), run.stdout
