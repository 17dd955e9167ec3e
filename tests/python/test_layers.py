"""The layers of the Python half: a module imports only from layers below its own, and nothing costly at start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "erl"

# Each may import, when it is loaded, from the lines below its own.
LAYERS = [
    {"__main__", "erlport", "hxpy"},
    {"parallel", "server", "session", "streams", "tasks", "worker"},
    {"inbox", "pushed"},
    {"api", "console", "limits", "logs", "objects", "output", "redirected"},
    {"port"},
    {"frames", "wire"},
    {"codec"},
    {"shared"},
    {"callout", "decoders", "encoders", "haystack", "opaque", "references"},
    {"plain", "terms"},
    {
        "by_value",
        "bytecode",
        "clock",
        "doctor",
        "errors",
        "footprint",
        "gate",
        "importing",
        "steps",
        "suggestion",
    },
]
LEVEL = {name: number for number, names in enumerate(LAYERS) for name in names}

# What no first call needs. `decimal`, `uuid` and the like come with the first value of their type.
COSTLY = {
    "argparse",
    "dataclasses",
    "decimal",
    "inspect",
    "logging",
    "erl.codec.haystack",
    "erl.haystack",
    "numpy",
    "pandas",
    "pydoc",
    "subprocess",
    "uuid",
    "zoneinfo",
}


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def loaded_imports(path: Path) -> set[str]:
    """The parts of the package that a module imports while it is loaded: not in functions, not for type checkers."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "erl":
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("erl."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("erl."))
        pending.extend(ast.iter_child_nodes(node))
    return found


MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_lower_layers_only(path: Path) -> None:
    own = layer_of(path)
    assert own in LEVEL, f"{own} has no layer yet"
    for imported in loaded_imports(path):
        assert imported in LEVEL, f"{own} imports {imported}, which has no layer"
        assert imported == own or LEVEL[imported] > LEVEL[own] or {own, imported} <= LAYERS[LEVEL[own]]


def test_only_the_port_touches_descriptors() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        # `limits` says where descriptors 1 and 2 lead, which are not the protocol's.
        if path.stem not in ("port", "frames", "limits"):
            assert not any(call in text for call in ("os.read", "os.write", "os.dup", "fcntl")), path


def test_starting_imports_nothing_costly() -> None:
    program = "import sys; from erl import server, codec; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )
    site = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert COSTLY & (set(done.stdout.split()) - set(site.stdout.split())) == set()
