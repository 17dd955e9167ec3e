"""Each fenced block of the pages is run by some test, or stands here with the reason why it is not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)

RUN = {
    "erlang": (r"\d+> ", "py_docs_SUITE, line by line"),
    "elixir": (r"iex> ", "tests/elixir/pages_test.exs, line by line"),
    "pycon": (r">>> ", "test_pages.py, line by line"),
    "lfe": (r"lfe> ", "py_lfe_SUITE, its transcripts, where there is an LFE"),
}
"""What begins a line that is run, and by what."""

COMMANDS = {
    r"python examples/python/\w+\.py": "test_pages.py compares what they print",
    r"make (demo|example-\w+)": "py_examples_SUITE compares what they print",
    r"make ": "py_docs_SUITE looks whether the target is there; it takes minutes",
    r"examples/applications/": "py_applications_SUITE",
    r"(python3 -m venv|uv venv|uv pip|\S*pip install|\.venv/bin/pip)": "wants an index, which tests do without",
    r"(curl|python -m erl)": "asks what the block before it has started; py_service_SUITE and test_command do so",
}
"""Commands of a `console` block, and what runs them."""

NOT_RUN = {
    ("README.md", "py_sup  "): "a drawing; py_app_SUITE compares it with the supervisors",
    ("README.md", " caller's process"): "a drawing",
    ("README.md", "erlang/  "): "a list of folders",
    ("README.md", "project = erl.functions"): "wants packages; functions-runs.md has it as prompts",
    ("distributed.md", "(a@host)"): "three nodes; py_cluster_SUITE makes the same calls",
    (
        "environments.md",
        "{ok, #{path := Path}}",
    ): "wants an index; py_envs_SUITE builds with wheels of its own",
    ("environments.md", "{ok, Run} = py_run:start"): "wants an index",
    ("environments.md", 'run = function.run("build"'): "wants an index; test_builds has the same",
    ("environments.md", "start(_Type, _Args)"): "wants an index",
    ("errors.md", "{python, Class :: atom()"): "a type",
    (
        "errors.md",
        "iex> :py.truediv",
    ): "what an older Elixir prints; py_elixir_SUITE has it for the one that is here",
    ("examples.md", ""): "parts of the programs in examples/, which py_examples_SUITE runs",
    (
        "executors.md",
        "from erl.executors import DaskExecutor",
    ): "wants a scheduler; tests/python/executors starts one",
    ("executors.md", "import libertem.api as lt"): "wants LiberTEM; tests/python/compute has the same",
    (
        "functions-runs.md",
        "{ok, Run} = py_function:start",
    ): "goes on from the prompts; py_function_SUITE does the same",
    (
        "functions-runs.md",
        "from digitalhub_runtime_python",
    ): "a part of a program; tests/python/functions has its like",
    ("haystack.md", "Grid = py:func(meters"): "wants pandas; py_marshalling_SUITE has the same",
    ("haystack.md", "Turned = py:func(numpy"): "wants numpy; py_marshalling_SUITE has the same",
    ("migrating-from-erlport.md", "{ok, Python} = python:start"): "wants ErlPort: make test-erlport",
    ("observability.md", "HTTP request"): "a drawing",
    ("parallel.md", "handle_call("): "a part of a server",
    (
        "python-programs.md",
        'node = erl.start({"default"',
    ): "wants a sandbox; tests/python/futures/test_sandboxed has the same",
    (
        "python-programs.md",
        "python -m erl node",
    ): "runs until it is ended; tests/python/link has the same",
    ("python.md", "from erl import Atom, decoders"): "a part of docs_shop.py, which is run",
    ("releases.md", ""): "make test-releases does what this page shows",
    ("servers.md", "-module(shop_sup)"): "a module of yours; py_owned_pools_SUITE has its like",
    (
        "security.md",
        "10> py:start_pool(boxed",
    ): "wants a Docker without a daemon; py_sandbox_SUITE has the same",
    (
        "services.md",
        "function = project.new_function(",
    ): "a part of a program; tests/python/serving has its like",
    ("services.md", "# words.py"): "py_service_SUITE streams in the same way",
    ("services.md", "# iris_service.py"): "wants scikit-learn; examples/services/model.py is the program",
    ("sessions.md", "Session = py_session:open(#{sandbox"): "wants a sandbox; py_session_SUITE has the same",
    ("shared-arrays.md", "Shm = py:share"): "256 MB; make bench measures it",
    ("shared-arrays.md", "Image = py:func(photo"): "a part of make example-filter",
    ("streams.md", "handle_call({py_next"): "a part of a server",
}
"""Blocks by their page and the beginning of their first line: all of a page where that is empty."""


def blocks() -> list[tuple[Path, str, str]]:
    return [
        (page, language.strip(), text)
        for page in PAGES
        for language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
    ]


def is_run(page: Path, language: str, text: str) -> bool:
    """Whether some test runs it, or looks whether it is right as it stands."""
    if language in RUN and re.search("^" + RUN[language][0], text, re.M):
        return True
    if language == "elixir":
        return True  # pages_test.exs reads it
    if language == "erlang" and re.match(r"\{(?!ok)\w+, (\[|#\{)", text):
        return True  # configuration, which py_docs_SUITE reads and checks
    if language == "python" and re.match(r"# docs_\w+\.py\n", text):
        return True  # a module of the page's prompts
    if language == "console":
        typed = re.findall(r"^\$ (.*)$", text, re.M)
        return bool(typed) and all(any(re.match(known, line) for known in COMMANDS) for line in typed)
    return False


def why_not(page: Path, text: str) -> tuple[str, str] | None:
    for name, beginning in NOT_RUN:
        if page.name == name and text.startswith(beginning):
            return name, beginning
    return None


def test_each_block_is_run_or_says_why_not() -> None:
    silent = [
        f"{page.name}: {text.splitlines()[0]}"
        for page, language, text in blocks()
        if page.name != "architecture.md" and not is_run(page, language, text) and why_not(page, text) is None
    ]
    assert silent == []


def test_each_excuse_has_its_block() -> None:
    found = {why_not(page, text) for page, language, text in blocks() if not is_run(page, language, text)}
    assert set(NOT_RUN) - found == set()


def test_the_tests_that_are_named_exist() -> None:
    said = " ".join([*(what for _, what in RUN.values()), *COMMANDS.values(), *NOT_RUN.values()])
    named = set(re.findall(r"py_\w+_SUITE|\btest_\w+|tests/[\w/]+\w", said))
    there = {path.stem for kind in ("*.erl", "*.py") for path in (ROOT / "tests").rglob(kind)}
    assert {name for name in named if name not in there and not list(ROOT.glob(f"{name}*"))} == set()


@pytest.mark.parametrize(
    ("page", "text"),
    [
        pytest.param(page, text, id=f"{page.name}-{place}")
        for place, (page, language, text) in enumerate(blocks())
        if language == "python"
    ],
)
def test_python_that_is_shown_is_python(page: Path, text: str) -> None:
    ast.parse(text, filename=page.name)


# Texts of errors


def sources() -> str:
    """Strings of both halves, with those that stand behind one another made one, and a blank for what is put in."""
    files = [*(ROOT / "erlang").rglob("*.erl"), *(ROOT / "python" / "erl").rglob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return re.sub(r'"\s*(?:\+\+\s*)?f?"', "", text)


def shown_texts() -> list[str]:
    """What the tables of the page say is printed: the first cell of a row that is nothing but code."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    found: list[str] = re.findall(r"^\| `([^`]*)` \|", page, re.M)
    return found


PYTHONS_OWN = ("module 'math' has no attribute", "argument ...: cannot pickle")
"""Texts that Python itself makes; prompts of the pages show them."""


def test_the_texts_that_troubles_are_found_by_are_those_that_are_printed() -> None:
    printed, texts = sources(), shown_texts()
    assert len(texts) > 30
    wrong = [
        (text, piece)
        for text in texts
        if not text.startswith(PYTHONS_OWN)
        for piece in (part.strip(" ") for part in text.split("..."))
        if len(piece) > 3 and piece not in printed
    ]
    assert wrong == []


# The index, and figures


def test_each_page_is_in_the_index_once() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[[^\]]+\]\(([\w-]+\.md)\)", index, re.M)
    assert sorted(listed) == sorted(page.name for page in PAGES if page.name != "README.md")


def rows_below(heading: str, page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("| ")][1:]


def test_the_figures_of_the_readme_are_those_of_the_page_on_performance() -> None:
    shown, all_of_them = rows_below("Speed", "README.md"), rows_below("Figures", "docs/performance.md")
    assert len(shown) >= 5
    assert set(shown) - set(all_of_them) == set()
