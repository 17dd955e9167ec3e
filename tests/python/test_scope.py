"""What belongs to a conversation is in its scope: two in a process don't meet, and no module keeps anything of one."""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_layers import MODULES, PACKAGE

from erl.codec import Options
from erl.runtime.server import Server
from erl.values.scope import Scope, current
from erl.wire.port import Port

HERE = Path(__file__).parent

# What may be kept in a module: what is made again where it is lost, and what is the process's, whoever talks to it.
CACHES = {
    "erl.calls.tasks._functions": "functions that go by value, by their pickles",
    "erl.codec.atoms.OF_ERLPORT": "atoms by their names",
    "erl.codec.atoms._met": "atoms by their names",
    "erl.codec.options._made": "options, which can't change, by their flags",
    "erl.dataflow.hashing._nans": "the NaN of each type that stands for all",
    "erl.dataflow.tasks._specs": "stages by their numbers, read again where they are lost",
    "erl.executors.calls._scattered": "versions of scattered objects, read again where they are lost",
    "erl.functions.job._functions": "functions by their keys, which don't change, looked at again in each run",
    "erl.functions.loading._directories": "where the sources of functions lie",
    "erl.functions.pythons._runs": "whether an interpreter starts, asked again where it is lost",
    "erl.futures.functions._codes": "which globals code looks at",
    "erl.futures.functions._pickles": "pickles of functions, looked at again in each task",
    "erl.link.interpreters._versions": "whether another interpreter reads this one's code",
    "erl.names.lookup._cached": "functions by their names, looked at again in each call",
    "erl.shared._memories": "maps of files, for as long as somebody has them",
    "erl.terms.Atom._interned": "atoms by their names",
    "erl.values.by_value._pickler": "a class, made when it is first needed",
    "erl.values.opaque._by_name": "a class, made when it is first needed",
    "erl.values.parcels._for_others": "a class, made when it is first needed",
    "erl.values.parcels._installed": "which modules are installed",
    "erl.values.plain.Atom._interned": "atoms by their names",
    "erl.values.plain.Atom._limit": "how many of those are kept",
}
OF_THE_PROCESS = {
    "erl.calls.runs._BUILTINS": "the builtin functions, which are put back where a run has replaced them",
    "erl.calls.runs._active": "the logs of runs that it is in",
    "erl.calls.runs._usual": "the standard streams that the logs of runs stand before",
    "erl.calls.tasks._used_path": "what was put in front of sys.path",
    "erl.dataflow.blocks._disks": "files of blocks that are its own",
    "erl.dataflow.output._running": "how many tasks have its standard output",
    "erl.executors.calls._files": "where shared memory of scattered objects is a file that this worker can read",
    "erl.executors.calls._held": "what executors have put into this worker",
    "erl.executors.dask_calls._held": "what executors have put into this worker of dask's",
    "erl.functions.nodes._joined": "the node that has the directory of functions",
    "erl.functions.nodes._used": "the node that a program's functions use, started or joined once",
    "erl.futures.executor._executors": "what is to be waited for at the exit",
    "erl.futures.executor._forks": "how often it was forked",
    "erl.futures.executor._is_over": "that it has begun to exit",
    "erl.link.nodes._joined": "the nodes that it has joined",
    "erl.link.nodes._known": "the nodes that it has links to",
    "erl.link.nodes._latest": "its default node",
    "erl.link.nodes._lock": "of these",
    "erl.link.nodes._started": "the nodes that it has started",
    "erl.names.bytecode._from_source": "the import system's modules",
    "erl.runtime.limits._bound": "RLIMIT_DATA",
    "erl.runtime.limits._inside": "RLIMIT_DATA",
    "erl.runtime.limits.spare": "memory that is left free",
    "erl.serving.replica._replica": "what a replica's Python serves, which is one thing",
    "erl.shared._unsent": "what deletes the files that are its own",
    "erl.values.marks._looked_at": "how many of its marks are looked through next",
    "erl.values.marks._marks": "what deletes its marks of what it maps",
    "erl.tracing._found": "OpenTelemetry's module, or that there is none",
}
OF_THE_COMPILED_CODEC = {
    "_last_key": "the key that was signed with last, with its first block compressed",
    "_last_scope": "whose tables were asked for last",
    "_last_tables": "those tables",
    "_last_zone": "the bytes of the zone that was written last",
}
KEPT = CACHES.keys() | OF_THE_PROCESS.keys()

MUTATORS = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "update",
}


@pytest.fixture(params=["compiled", "python"])
def run(request: pytest.FixtureRequest) -> Any:
    without = "" if request.param == "compiled" else "sys.modules['erl.codec.native'] = None; "

    def ran(what: str) -> Any:
        program = (
            f"import sys; {without}sys.argv = ['two_conversations', {what!r}]; import runpy;"
            " runpy.run_path('two_conversations.py', run_name='__main__')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=HERE,
            env={"PYTHONPATH": str(PACKAGE.parent)},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return ran


def test_two_conversations_in_one_process_do_not_meet(run: Any) -> None:
    saw = run("meet")
    assert saw == {
        "keys": ["key 1", "key 2"],
        "later": ["key 1", "key 2"],
        "encoders": ["first", "second"],
        "decoders": ["first b'x'", "second b'x'"],
        "options": ["x", "b'x'"],
        "references": [["$py.ref", 1, 1], ["$py.ref", 1, 1]],
        "own reference": [42, 42],
        "other reference": ["erl.errors.StaleReferenceError"] * 2,
        "own pickle": [3, 3],
        "other pickle": ["erl.errors.DecodeError"] * 2,
        "logged": [["b'first'"], ["b'second'"]],
    }


def test_who_reads_for_coroutines_is_part_of_the_conversation_it_reads() -> None:
    scope = Scope()
    with socket.socket() as here:
        server = Server(Port(here.fileno(), here.fileno()), Options.from_flags(4), scope=scope)
        assert server._inbox._context().run(current) is scope


def test_a_conversation_changes_no_global_but_caches(run: Any) -> None:
    assert set(run("change")) <= KEPT


def mutated(tree: ast.Module) -> set[str]:
    """The globals of a module that its functions change, and the attributes of classes that class methods do."""
    names = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()

    def base(node: ast.expr) -> str | None:
        if isinstance(node, ast.Name) and node.id in names:
            return node.id
        return None

    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        local = {arg.arg for arg in function.args.args} | {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                found |= set(node.names)
                local -= set(node.names)
        for node in ast.walk(function):
            target: ast.expr | None = None
            if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                target = node.value
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in MUTATORS
            ):
                target = node.func.value
            if target is not None and (name := base(target)) and name not in local:
                found.add(name)
    return found


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name != "codec.native"))
def test_no_function_changes_a_global_but_caches(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    assert {f"erl.{name}.{each}" for each in mutated(tree)} <= KEPT


def test_the_compiled_codec_changes_no_global_but_caches() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "codec").glob("native*.p[yx]*"))
    found = {
        name
        for names in re.findall(r"^ +global ([\w, ]+)$", text, re.M)
        for name in re.findall(r"\w+", names)
    }
    assert found == OF_THE_COMPILED_CODEC.keys()
