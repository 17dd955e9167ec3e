"""The layers of the Python half, read from its folders: a module imports only from its own and from lower ones, in
functions, too, and nothing costly is loaded at start.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import erl

PACKAGE = Path(__file__).parents[2] / "python" / "erl"

# From the bottom up: folders, and the modules beside them, which user code imports.
LAYERS = [
    {"errors", "terms", "haystack"},
    {"values"},
    {"api", "decoders", "encoders", "shared", "tracing"},
    {"codec"},
    {"wire"},
    {"names"},
    # Those of Python programs that drive pools: nothing of a worker's side.
    {"link"},
    {"futures"},
    {"executors"},
    {"dataflow", "compute", "functions"},
    {"serving"},
    {"runtime"},
    {"calls"},
    {"sandbox"},
    {"__main__"},
    {"facades"},
]
LEVEL = {name: number for number, names in enumerate(LAYERS) for name in names}

MOST_LINES = 500

# What no first call needs. `decimal`, `uuid` and the like come with the first value of their type.
COSTLY = {
    "argparse",
    "collections",
    "dataclasses",
    "decimal",
    "enum",
    "inspect",
    "logging",
    "erl.codec.haystack",
    "erl.haystack",
    "numpy",
    "pandas",
    "pickle",
    "pydoc",
    "re",
    "subprocess",
    "typing",
    "uuid",
    "zoneinfo",
}

Imports = dict[str, set[str]]


def name_of(path: Path) -> str:
    """The module's name below `erl`; the parts of the compiled codec are one module."""
    if path.suffix in (".pyx", ".pxi"):
        return "codec.native"
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = sorted(path for pattern in ("*.py", "*.pyx", "*.pxi") for path in PACKAGE.rglob(pattern))
# The package itself finds its parts when they are asked for, and stands above all of them.
MODULES = {name_of(path): path for path in SOURCES} | {"codec.native": PACKAGE / "codec" / "native.pyx"}
MODULES.pop("")


def of(module: str, names: list[str]) -> set[str]:
    """What `from module import names` imports of this package."""
    below = [".".join([*module.split(".")[1:], name]) for name in names]
    package = module.partition(".")[2]
    return {name if name in MODULES else package for name in below} - {""}


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a source imports: in functions, too, and for type checkers."""
    text = path.read_text(encoding="utf-8")
    found: set[str] = set()
    if path.suffix != ".py":
        for module, names in re.findall(r"^\s*from (erl[\w.]*) import (\([^)]*\)|[^\n]*)", text, re.M):
            found |= of(module, re.findall(r"\w+", re.sub(r" as \w+", "", names)))
        return found
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parts = ["erl", *path.relative_to(PACKAGE).parts]
                module = ".".join([*parts[: -node.level], *([node.module] if node.module else [])])
            if module.partition(".")[0] == "erl":
                found |= of(module, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("erl.")}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "__import__":
            assert not ast.unparse(node.args[0]).startswith(("'erl'", "'erl.")), f"{path} hides an import"
    return found


def imports() -> Imports:
    found: Imports = {name: set() for name in MODULES}
    for path in SOURCES:
        if name := name_of(path):
            found[name] |= imports_of(path) - {name}
    return found


IMPORTS = imports()


def layer_of(name: str) -> str:
    return name.partition(".")[0]


def test_every_folder_and_module_has_a_layer() -> None:
    assert {layer_of(name) for name in MODULES} == set(LEVEL)


def test_every_module_stands_in_the_table_of_the_architecture() -> None:
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\|(?: `(\w+)`)? \| ([^|]*) \|", page.partition("## Python components")[2], re.M)
    described: set[str] = set()
    folder = ""
    for named, modules in rows:
        folder = named or folder
        for module in re.findall(r"`erl\.([\w.]+)`", modules):
            assert folder in (layer_of(module), "erl"), f"{module} is not in {folder}"
            described.add(module)
    packages = {name for name in MODULES if any(each.startswith(name + ".") for each in MODULES)}
    assert described == {name for name in MODULES if layer_of(name) != "facades"} - packages


def test_no_source_is_longer_than_one_reads() -> None:
    root = PACKAGE.parents[1]
    sources = [
        path
        for path in [*(root / "erlang").rglob("*"), *PACKAGE.rglob("*")]
        if path.suffix in {".erl", ".hrl", ".py", ".pyx", ".pxi"}
    ]
    assert len(sources) > 200
    assert {
        path.name: lines for path in sources if (lines := len(path.read_text().splitlines())) > MOST_LINES
    } == {}


def test_no_folder_has_the_name_of_what_user_code_imports() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert folders & set(erl.__all__) == {"haystack"}


@pytest.mark.parametrize("name", sorted(IMPORTS))
def test_a_module_imports_from_its_own_and_lower_layers_only(name: str) -> None:
    own = LEVEL[layer_of(name)]
    higher = {each for each in IMPORTS[name] if LEVEL[layer_of(each)] > own}
    beside = {
        each for each in IMPORTS[name] if LEVEL[layer_of(each)] == own and layer_of(each) != layer_of(name)
    }
    assert higher == set()
    assert beside <= {each for each in beside if (PACKAGE / each).with_suffix(".py").is_file()}


def reached(name: str) -> set[str]:
    """What a module imports, and what that imports. A package loads its parts, which does not make them one."""
    found: set[str] = set()
    pending = [name]
    while pending:
        each = pending.pop()
        new = {known for known in IMPORTS[each] - found if not each.startswith(f"{known}.")}
        found |= new
        pending += new
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert [name for name in IMPORTS if name in reached(name)] == []


def test_the_programs_of_sandboxes_import_nothing_of_the_package() -> None:
    assert {name: IMPORTS[name] for name in ("sandbox.gate", "sandbox.footprint")} == {
        "sandbox.gate": set(),
        "sandbox.footprint": set(),
    }


def test_only_the_port_touches_descriptors() -> None:
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        # `limits` says where descriptors 1 and 2 lead, which are not the protocol's.
        # `zygote` talks to Erlang before there is a protocol.
        # `link.keeper` is forked from a program that becomes a script, whose streams it leaves.
        if name not in ("wire.port", "wire.frames", "runtime.limits", "runtime.zygote", "link.keeper"):
            assert not any(call in text for call in ("os.read", "os.write", "os.dup", "fcntl")), path


def test_starting_imports_nothing_costly() -> None:
    # Without what this interpreter's packages import as it starts.
    program = "import sys; from erl.calls import worker; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert COSTLY & set(done.stdout.split()) == set()
